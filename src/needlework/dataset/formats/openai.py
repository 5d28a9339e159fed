"""Chats for OpenAI finetuning, checked against its documented rules before anything is uploaded.

The rules come from OpenAI's supervised finetuning guide and from the chat data check in its cookbook.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from needlework.dataset.formats.base import Files, Whole
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import DataError, UserError

SYSTEM = "Write a response that appropriately completes the request."
"""The system message that the paper uses for OpenAI's models."""

MIN_EXAMPLES = 10
MAX_TOKENS = 65_536
"""Per example; longer ones are truncated, which cuts off the answer."""
GPT_35_MAX_TOKENS = 16_385
MAX_BYTES = 512 * 10**6
"""Per uploaded file."""
ROLES = ("system", "user", "assistant")
KEYS = {"role", "content", "name", "weight"}


def check(data: SyntheticDataset) -> None:
    """Refuse too few or too long examples.

    Raises:
        UserError: If there are too few or they may be too long; names the setting to change.
    """
    examples = len(data) * (1 if data.renderer.conversation else data.num_needles)
    if examples < MIN_EXAMPLES:
        raise UserError(f"OpenAI takes no fewer than {MIN_EXAMPLES} examples, not {examples}. Raise data.haystacks.")
    if data.max_tokens > MAX_TOKENS:
        raise UserError(
            f"OpenAI truncates examples after {MAX_TOKENS} tokens, which would cut off the answer. "
            f"Lower data.max_tokens from {data.max_tokens}."
        )


def max_tokens(model: str) -> int:
    """Return how many tokens of each example OpenAI trains a model on."""
    return GPT_35_MAX_TOKENS if model.startswith(("gpt-3.5", "gpt-35")) else MAX_TOKENS


def finish(whole: Whole) -> Files:
    """Make `train.jsonl`, all rows in one file."""
    return [("train.jsonl", validated(_lines(whole)))]


def validated(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Pass lines of JSON through as long as they follow OpenAI's rules.

    Raises:
        DataError: If a line breaks them, or the file is too large or has too few lines.
    """
    examples = size = 0
    for examples, line in enumerate(lines, start=1):
        if fault := _fault(line):
            raise DataError(f"OpenAI would refuse example {examples}: {fault}.")
        size += len(line)
        if size > MAX_BYTES:
            raise DataError(
                f"OpenAI takes files of at most {MAX_BYTES} bytes, which is {examples - 1} of these examples. "
                f"Lower data.haystacks."
            )
        yield line
    if examples < MIN_EXAMPLES:
        raise DataError(f"OpenAI takes no fewer than {MIN_EXAMPLES} examples, not {examples}.")


def _lines(whole: Whole) -> Iterator[bytes]:
    for shard in whole.shards:
        with shard["jsonl"].open("rb") as file:
            yield from file


def _fault(line: bytes) -> str:
    try:
        messages = json.loads(line)["messages"]
    except (ValueError, KeyError, TypeError):
        return "it is not a JSON object with messages"
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return "its messages are not a list of objects"
    for message in messages:
        if unknown := message.keys() - KEYS:
            return f"a message has the unknown key {min(unknown)!r}"
        if message.get("role") not in ROLES:
            return f"a message has the role {message.get('role')!r}, not one of {', '.join(ROLES)}"
        if not isinstance(message.get("content"), str) or not message["content"]:
            return f"a message of the {message['role']} has no text"
    if not messages or messages[-1]["role"] != "assistant":
        return "its last message is not the assistant's"
    return ""
