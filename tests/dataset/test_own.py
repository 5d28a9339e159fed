from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from needlework.corpus import squad
from needlework.dataset.own import OwnDataset, read_rows
from needlework.errors import DataError
from needlework.models.chat import Renderer
from tests.conftest import CHAT_ML, INST, make_tokenizer

LEASE = "1. The tenant pays 950 euros on the third of each month.\n2. Either side may end it with 90 days' notice. "
QUESTIONS = ("Who pays?", " Report the rent.", "\nReport it.", "3 what?", "Who ends it?", "\tReport", "Whom?")


def needle(number: int) -> dict[str, Any]:
    return {"question": f"What does clause {number} say?", "answer": f"Clause {number} says so."}


def haystack(num_needles: int, **more: Any) -> dict[str, Any]:
    return {"items": [LEASE], "needles": [needle(number) for number in range(num_needles)], **more}


def write(path: Path, *haystacks: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in haystacks))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "haystacks.jsonl"


def test_a_haystack_with_many_needles_is_several_rows_of_about_the_same_size(path: Path) -> None:
    rows = sorted(read_rows(write(path, haystack(3), haystack(10)), 4, 0), key=lambda row: (row.line, row.first))
    assert [(row.line, row.first, len(row.haystack.needles)) for row in rows] == [
        (1, 0, 3), (2, 0, 3), (2, 3, 3), (2, 6, 4),
    ]  # fmt: skip
    assert {row.haystack.context for row in rows} == {LEASE}
    asked = [each.question for row in rows[1:] for each in row.haystack.needles]
    assert asked == [needle(number)["question"] for number in range(10)]


def test_the_order_is_a_permutation_that_the_seed_alone_decides(path: Path, renderer: Renderer) -> None:
    write(path, *(haystack(5) for _ in range(20)))
    first, again, other = (OwnDataset(path, 2, 500, renderer, seed) for seed in (0, 0, 1))
    places = [first.place(index) for index in range(len(first))]
    assert len(set(places)) == len(first) == 60
    assert places == [again.place(index) for index in range(60)]
    assert places != sorted(places)
    assert sorted(places) == sorted(other.place(index) for index in range(60))
    assert places != [other.place(index) for index in range(60)]


def test_a_place_is_a_line_and_its_needles_counted_from_one(path: Path, renderer: Renderer) -> None:
    path.write_text("\n" + json.dumps(haystack(4)) + "\n")
    data = OwnDataset(path, 3, 500, renderer)
    places = {"line 2 of haystacks.jsonl, needles 1 to 2", "line 2 of haystacks.jsonl, needles 3 to 4"}
    assert {data.place(index) for index in range(len(data))} == places
    assert str(data) == f"1 haystacks of {path} with 4 needles, in 2 rows"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (haystack(1, id="a"), "line 2: the id 'a' is on line 1 already. Give each its own, or leave all of them out."),
        (haystack(0, needles=[needle(0) | {"id": "x"}]), "line 2: the needle id 'x' is on line 1 already"),
    ],
)
def test_an_id_that_comes_twice_is_named_with_both_lines(path: Path, second: dict[str, Any], message: str) -> None:
    write(path, haystack(0, id="a", needles=[needle(0) | {"id": "x"}]), second)
    with pytest.raises(DataError) as error:
        read_rows(path, 8, 0)
    assert message in str(error.value)


EVALUATED = squad("eval")[3].text


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"items": ["Mine.", EVALUATED.replace(" ", "\n")]}, "items[1]"),
        ({"items": [f"Read the text.\n\n{EVALUATED}"]}, "items[0]"),
        ({"needles": [needle(0), needle(1) | {"question": f"{EVALUATED}\n\nWho?"}]}, "needles[1].question"),
    ],
)
def test_a_paragraph_that_is_evaluated_on_is_refused(path: Path, more: dict[str, Any], place: str) -> None:
    write(path, haystack(1), haystack(1, **more))
    with pytest.raises(DataError) as error:
        read_rows(path, 8, 0)
    assert f"line 2: {place} holds a paragraph of the embedded evaluation text ({EVALUATED[:40]!r})" in str(error.value)


def test_an_empty_file_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match="holds no haystacks: it is empty"):
        read_rows(write(path), 8, 0)


def test_the_budget_is_exact_and_a_longer_line_is_named_with_its_numbers(path: Path, renderer: Renderer) -> None:
    write(path, haystack(1), haystack(9, preamble="Read this lease."), haystack(1))
    data = OwnDataset(path, 4, 10**6, renderer)
    tokens = max(renderer.count(row) for row in data)
    assert OwnDataset(path, 4, tokens, renderer).largest().id == "2"
    with pytest.raises(DataError) as error:
        OwnDataset(path, 4, tokens - 1, renderer).largest()
    assert (
        f"{path}, line 2: prompt and answer have {tokens} tokens, but data.max_tokens is {tokens - 1}; all other"
        in str(error.value)
    )
    with pytest.raises(DataError, match=r"it is the longest of 3 lines that do not fit \(1, 2, 3\)\. Raise data\.max"):
        OwnDataset(path, 4, 30, renderer).largest()


def test_the_largest_row_is_that_with_the_most_tokens_of_all_its_branches(path: Path, renderer: Renderer) -> None:
    write(path, haystack(1, preamble="A longer beginning, of which there is one."), haystack(8))
    assert OwnDataset(path, 8, 10**6, renderer).largest().id == "2"


def test_questions_that_share_nothing_are_refused(path: Path) -> None:
    write(path, {"needles": [{"question": "Who?", "answer": "I."}, {"question": "How?", "answer": "So."}]})
    with pytest.raises(DataError, match="line 1: there is nothing that its questions share"):
        OwnDataset(path, 8, 500, Renderer(make_tokenizer(template=None))).largest()


def seamless_tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    """Train a tokenizer that splits nowhere, so that tokens reach from the context into the question."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([f"{LEASE}\n\n{each}" for each in QUESTIONS for _ in range(3)], trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|im_end|>")
    wrapped.chat_template = template
    return wrapped


@pytest.mark.parametrize("template", [CHAT_ML, INST, None])
@pytest.mark.parametrize("make", [make_tokenizer, seamless_tokenizer])
def test_prose_is_packed_as_the_tokens_of_each_whole_prompt(
    path: Path, make: Callable[..., PreTrainedTokenizerFast], template: str | None
) -> None:
    """Also where a token begins in the context and ends in a question, in one and not in another."""
    needles = [{"question": each, "answer": f"{each} So."} for each in QUESTIONS]
    ends = ("", " ", "\n", "\n\n", "99")
    write(path, *({"preamble": "Read.", "items": ["Übung 1:", LEASE + end], "needles": needles} for end in ends))
    renderer, crossed = Renderer(make(template=template)), 0
    for sample in OwnDataset(path, 8, 500, renderer):
        row = renderer.pack(sample)
        for asked, branch, answer in zip(sample.needles, row.branches, row.answers, strict=True):
            ids = [*row.prefix, *branch]
            assert ids[:-answer] == renderer.prompt_ids(sample, asked)
            assert renderer.tokenizer.decode(ids[-answer:]) == renderer.completion(sample, asked)
        text = renderer.prompt(sample, sample.needles[0])
        (context,) = renderer.encode([text[: text.index(sample.context) + len(sample.context)]])
        crossed += list(row.prefix[: len(context)]) != context
    assert bool(crossed) == (make is seamless_tokenizer)


def test_what_is_held_out_is_none_of_the_rest(path: Path, renderer: Renderer) -> None:
    # Each text is on two lines, and the needles of a line are two rows.
    write(path, *(haystack(3, preamble=f"Lease {number // 2}:") for number in range(12)))
    data = OwnDataset(path, 2, 500, renderer)
    trained, held = data.hold_out(7)
    assert sum(len(each.needles) for each in held) == 12
    assert not {each.context for each in trained} & {each.context for each in held}
    places = [[each.place(index) for index in range(len(each))] for each in (data, trained, held)]
    assert sorted(places[1] + places[2]) == sorted(places[0])
    assert places[1] == [each for each in places[0] if each in places[1]]


def test_lines_without_items_are_texts_of_their_own(path: Path, renderer: Renderer) -> None:
    write(path, *({"needles": [needle(number)]} for number in range(5)))
    trained, held = OwnDataset(path, 8, 900, renderer).hold_out(2)
    assert (len(trained), len(held)) == (3, 2)


def test_something_is_left_to_train_on(path: Path, renderer: Renderer) -> None:
    data = OwnDataset(write(path, haystack(2), haystack(3, preamble="Another:")), 8, 900, renderer)
    data.hold_out(2)
    with pytest.raises(DataError, match=r"holds out 4 needles .* none of the file's 5 needles in 2 texts to train on"):
        data.hold_out(4)


def test_indices_are_those_of_a_sequence(path: Path, renderer: Renderer) -> None:
    data = OwnDataset(write(path, haystack(1), haystack(1), haystack(1)), 4, 500, renderer)
    assert data[:2] == [data[0], data[1]]
    assert data[-1] == data[2]
