"""Chats as JSON, one per line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from needlework.dataset.formats.base import Shard
from needlework.dataset.synthetic import SyntheticDataset
from needlework.haystack import Haystack
from needlework.models.chat import Renderer

_quote = json.JSONEncoder(ensure_ascii=False).encode

Chat = list[str]
"""Messages, each as JSON."""


def messages(data: SyntheticDataset, indices: range) -> Shard:
    """Write `{"messages": [system, user, assistant, …]}`."""
    return _lines(data, indices, lambda chat: f'{{"messages": [{", ".join(chat)}]}}\n')


def prompt_completion(data: SyntheticDataset, indices: range) -> Shard:
    """Write `{"prompt": [system, user], "completion": [assistant]}`; conversations as `messages`.

    TRL trains on the whole completion, so it cannot hold the questions of a conversation.
    """
    if data.renderer.conversation:
        return messages(data, indices)
    thinks = "enable_thinking" in str(data.renderer.tokenizer.chat_template)
    # TRL renders each row with these, so that the prompt ends after the empty thinking block, as at inference.
    options = ', "chat_template_kwargs": {"enable_thinking": false}' if thinks else ""
    return _lines(
        data, indices, lambda chat: f'{{"prompt": [{", ".join(chat[:-1])}], "completion": [{chat[-1]}]{options}}}\n'
    )


def _lines(data: SyntheticDataset, indices: range, line: Callable[[Chat], str]) -> Shard:
    lines = [line(chat) for index in indices for chat in _chats(data[index], data.renderer)]
    return Shard(len(lines), {"jsonl": "".join(lines).encode()})


def _chats(haystack: Haystack, renderer: Renderer) -> Iterator[Chat]:
    """Yield a chat for each needle, or a single conversation of all of them."""
    system = [] if renderer.system is None else [_message("system", _quote(renderer.system))]
    # Most of a message is the context, so it is escaped once for all needles.
    context = haystack.context
    beginning = _quote(context + "\n\n" if context else "")[:-1]
    asked = [
        beginning + _quote(needle.question)[1:] if needle.question else _quote(context) for needle in haystack.needles
    ]
    first = [_message("user", each) for each in asked]
    answers = [_message("assistant", _quote(needle.answer)) for needle in haystack.needles]
    if renderer.conversation:
        others = [_message("user", _quote(needle.question)) for needle in haystack.needles[1:]]
        questions = [first[0], *others]
        yield [*system, *(part for turn in zip(questions, answers, strict=True) for part in turn)]
    else:
        for question, answer in zip(first, answers, strict=True):
            yield [*system, question, answer]


def _message(role: str, content: str) -> str:
    return f'{{"role": "{role}", "content": {content}}}'
