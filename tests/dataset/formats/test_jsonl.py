from __future__ import annotations

import json
from typing import Any

import pytest

from needlework.dataset.formats import jsonl
from needlework.dataset.formats.base import Shard
from needlework.dataset.synthetic import SyntheticDataset
from needlework.haystack import Haystack, Needle
from needlework.models.chat import Renderer
from needlework.tasks import make_task


def dataset(renderer: Renderer) -> SyntheticDataset:
    return SyntheticDataset(make_task("simple_dict"), 4, 3, 700, renderer)


def rows(shard: Shard) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in bytes(shard.contents["jsonl"]).decode().split("\n")[:-1]]
    assert len(found) == shard.rows
    return found


def chats(data: SyntheticDataset, indices: range) -> list[list[dict[str, str]]]:
    return [
        [{"role": "user", "content": data[index].message(needle)}, {"role": "assistant", "content": needle.answer}]
        for index in indices
        for needle in data[index].needles
    ]


def test_messages_are_a_chat_for_each_needle(renderer: Renderer) -> None:
    data = dataset(renderer)
    assert rows(jsonl.messages(data, range(1, 3))) == [{"messages": chat} for chat in chats(data, range(1, 3))]


def test_prompt_and_completion_are_lists_of_messages(renderer: Renderer) -> None:
    data = dataset(renderer)
    expected = [{"prompt": chat[:1], "completion": chat[1:]} for chat in chats(data, range(2))]
    assert rows(jsonl.prompt_completion(data, range(2))) == expected


@pytest.mark.parametrize("write", [jsonl.messages, jsonl.prompt_completion])
def test_a_conversation_is_one_chat_that_asks_later_questions_alone(renderer: Renderer, write: Any) -> None:
    data = dataset(Renderer(renderer.tokenizer, conversation=True))
    first, *others = data[0].needles
    expected = [{"role": "user", "content": data[0].message(first)}, {"role": "assistant", "content": first.answer}]
    for needle in others:
        expected.append({"role": "user", "content": needle.question})
        expected.append({"role": "assistant", "content": needle.answer})
    assert rows(write(data, range(1))) == [{"messages": expected}]


@pytest.mark.parametrize(("write", "column"), [(jsonl.messages, "messages"), (jsonl.prompt_completion, "prompt")])
def test_a_system_message_comes_first(renderer: Renderer, write: Any, column: str) -> None:
    data = dataset(Renderer(renderer.tokenizer, system='Be "brief".'))
    assert all(row[column][0] == {"role": "system", "content": 'Be "brief".'} for row in rows(write(data, range(1))))


@pytest.mark.parametrize(("preamble", "question"), [('a "b" \\ \t\u2028é', "¿q\n?"), ("", "q"), ("p", ""), ("", "")])
def test_any_text_survives(renderer: Renderer, preamble: str, question: str) -> None:
    needle = Needle("0", "0", question, 'so "it" is\n', ("x",), 0)
    sample = Haystack("0", "t", preamble, ("one\x00", "two"), (needle, needle))

    class Data(SyntheticDataset):
        def __getitem__(self, index: int) -> Haystack:  # type: ignore[override]
            return sample

    data = Data(make_task("simple_dict"), 1, 2, 700, renderer)
    for row in rows(jsonl.messages(data, range(1))):
        assert [message["content"] for message in row["messages"]] == [sample.message(needle), needle.answer]
