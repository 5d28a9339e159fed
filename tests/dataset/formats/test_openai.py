from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from needlework.dataset.export import export
from needlework.dataset.formats import FORMATS, openai
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import DataError, UserError
from needlework.models.chat import Renderer
from needlework.tasks import make_task

USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


def line(*messages: object) -> bytes:
    return json.dumps({"messages": messages}).encode() + b"\n"


def dataset(renderer: Renderer, size: int, needles: int = 3, max_tokens: int = 600) -> SyntheticDataset:
    return SyntheticDataset(make_task("simple_dict"), size, needles, max_tokens, renderer)


def test_all_rows_are_in_one_file(renderer: Renderer, tmp_path: Path) -> None:
    data = dataset(renderer, 4)
    export(data, FORMATS["openai"], tmp_path, {})
    answers = [json.loads(line)["messages"][-1]["content"] for line in (tmp_path / "train.jsonl").open()]
    assert answers == [needle.answer for index in range(4) for needle in data[index].needles]


def test_good_lines_pass_unchanged() -> None:
    lines = [line({"role": "system", "content": "s"}, USER, ASSISTANT, USER, ASSISTANT)] * 12
    assert list(openai.validated(lines)) == lines


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (b"{nothing\n", "not a JSON object with messages"),
        (b"[1]\n", "not a JSON object with messages"),
        (b'{"prompt": "p"}\n', "not a JSON object with messages"),
        (b'{"messages": "text"}\n', "not a list of objects"),
        (line(), "not the assistant's"),
        (line(USER), "not the assistant's"),
        (line(USER, ASSISTANT, USER), "not the assistant's"),
        (line({"role": "human", "content": "q"}, ASSISTANT), "the role 'human'"),
        (line(USER, {"role": "assistant", "content": ""}), "of the assistant has no text"),
        (line(USER, {"role": "assistant"}), "of the assistant has no text"),
        (line({**USER, "loss": 1}, ASSISTANT), "the unknown key 'loss'"),
    ],
)
def test_what_openai_would_refuse_is_named_with_its_line(bad: bytes, fault: str) -> None:
    with pytest.raises(DataError, match=f"example 2: .*{fault}"):
        list(openai.validated([line(USER, ASSISTANT), bad]))


def test_fewer_than_ten_examples_are_refused() -> None:
    with pytest.raises(DataError, match="no fewer than 10 examples, not 9"):
        list(openai.validated([line(USER, ASSISTANT)] * 9))


def test_a_file_that_is_too_large_is_refused_with_the_examples_that_fit() -> None:
    long = line(USER, {"role": "assistant", "content": "a" * 10**6})

    def lines() -> Iterator[bytes]:
        for _ in range(600):
            yield long

    with pytest.raises(DataError, match=f"at most 512000000 bytes, which is {openai.MAX_BYTES // len(long)} of"):
        for _ in openai.validated(lines()):
            pass


@pytest.mark.parametrize(
    ("size", "needles", "conversation", "examples"), [(3, 3, False, 9), (9, 3, True, 9), (9, 1, False, 9)]
)
def test_too_few_haystacks_are_refused_before_any_is_made(
    renderer: Renderer, tmp_path: Path, size: int, needles: int, conversation: bool, examples: int
) -> None:
    data = dataset(Renderer(renderer.tokenizer, conversation=conversation), size, needles)
    with pytest.raises(UserError, match=f"no fewer than 10 examples, not {examples}"):
        export(data, FORMATS["openai"], tmp_path / "new", {})
    assert not (tmp_path / "new").exists()


def test_examples_that_would_be_cut_off_are_refused(renderer: Renderer) -> None:
    openai.check(dataset(renderer, 10, max_tokens=65_536))
    with pytest.raises(
        UserError, match=r"after 65536 tokens, which would cut off the answer\. Lower data.max_tokens from 65537"
    ):
        openai.check(dataset(renderer, 10, max_tokens=65_537))
