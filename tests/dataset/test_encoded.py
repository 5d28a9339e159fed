from __future__ import annotations

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from needlework.dataset.encoded import Encoded, encode
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import ModelError
from needlework.haystack import Haystack, Needle
from needlework.models.chat import Renderer
from needlework.tasks import make_task
from tests.conftest import CHAT_ML, INST, make_tokenizer


def haystack(needles: int = 4) -> Haystack:
    return SyntheticDataset(make_task("simple_dict"), 1, needles, 600, Renderer(make_tokenizer()))[0]


def supervised(row: Encoded, renderer: Renderer) -> str:
    return str(renderer.tokenizer.decode(row.input_ids[row.labels != -100]))


@pytest.fixture(params=["single", "threes", "merged"])
def digits(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("template", [CHAT_ML, INST, None])
def test_rows_are_the_renderers_with_only_the_completion_labelled(digits: str, template: str | None) -> None:
    renderer, sample = Renderer(make_tokenizer(digits, template)), haystack()
    for row, (prompt, completion) in zip(encode(sample, renderer), renderer.rows(sample), strict=True):
        assert row.input_ids.dtype == row.labels.dtype == np.int32
        assert row.input_ids.tolist() == prompt + completion
        assert row.labels.tolist() == [-100] * len(prompt) + completion


@pytest.mark.parametrize("template", [CHAT_ML, INST, None])
def test_the_gold_span_is_the_tokens_of_the_gold_item(digits: str, template: str | None) -> None:
    renderer, sample = Renderer(make_tokenizer(digits, template)), haystack()
    for needle, row in zip(sample.needles, encode(sample, renderer), strict=True):
        ((start, end),) = row.gold
        assert renderer.tokenizer.decode(row.input_ids[start:end]) == sample.items[needle.position]


@pytest.mark.parametrize("fast", [True, False])
def test_a_token_across_the_edge_of_the_gold_item_belongs_to_it(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer(template=None)
    tokenizer.add_tokens(["e\ntw", "o\nth"])
    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", fast)
    sample = Haystack("0", "t", "p", ("one", "two", "three"), (Needle("0", "0", "q", "a", ("a",), 1),))
    (row,) = encode(sample, Renderer(tokenizer))
    ((start, end),) = row.gold
    assert tokenizer.convert_ids_to_tokens(row.input_ids[start:end].tolist()) == ["e\ntw", "o\nth"]


def test_spans_without_offsets_are_those_with_them(digits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer, sample = Renderer(make_tokenizer(digits)), haystack()
    expected = [row.gold for row in encode(sample, renderer)]
    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    assert [row.gold for row in encode(sample, renderer)] == expected


def test_a_needle_without_gold_item_has_an_empty_span(renderer: Renderer) -> None:
    sample = Haystack("0", "t", "p", ("one", "two"), (Needle("0", "0", "q", "It does not occur.", ("no",), -1),))
    assert encode(sample, renderer)[0].gold == ((0, 0),)


@pytest.mark.parametrize("template", [CHAT_ML, INST])
def test_a_conversation_supervises_every_answer_and_its_end_of_turn(digits: str, template: str) -> None:
    renderer, sample = Renderer(make_tokenizer(digits, template), conversation=True), haystack()
    (row,) = encode(sample, renderer)
    ends = "".join(renderer.completion(sample, needle) for needle in sample.needles)
    assert supervised(row, renderer) == ends
    assert len(row.input_ids) == renderer.count(sample)


@pytest.mark.parametrize("template", [CHAT_ML, INST])
def test_the_last_question_of_a_conversation_is_asked_as_the_template_writes_it(template: str) -> None:
    renderer, sample = Renderer(make_tokenizer(template=template), conversation=True), haystack(2)
    (row,) = encode(sample, renderer)
    first, second = sample.needles
    messages = [
        {"role": "user", "content": sample.message(first)},
        {"role": "assistant", "content": first.answer},
        {"role": "user", "content": second.question},
    ]
    prompt = renderer.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = renderer.encode([str(prompt)])[0]
    assert row.input_ids[: len(ids)].tolist() == ids
    assert (row.labels[len(ids) :] == row.input_ids[len(ids) :]).all()


def test_a_conversation_has_the_gold_span_of_each_needle(digits: str) -> None:
    renderer, sample = Renderer(make_tokenizer(digits), conversation=True), haystack()
    (row,) = encode(sample, renderer)
    found = [renderer.tokenizer.decode(row.input_ids[start:end]) for start, end in row.gold]
    assert found == [sample.items[needle.position] for needle in sample.needles]


def test_a_template_that_changes_items_is_refused() -> None:
    upper = CHAT_ML.replace("message['content']", "message['content'] | upper")
    with pytest.raises(ModelError, match="changes the items"):
        encode(haystack(), Renderer(make_tokenizer(template=upper)))


def test_a_dataset_encodes_its_samples(renderer: Renderer) -> None:
    data = SyntheticDataset(make_task("simple_dict"), 3, 2, 600, renderer)
    expected = encode(data[2], renderer)
    for row, other in zip(data.encoded(2), expected, strict=True):
        assert row.input_ids.tolist() == other.input_ids.tolist()
        assert row.gold == other.gold
