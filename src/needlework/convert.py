"""From other file formats to haystacks: questions in SQuAD's format, and chats that share a context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, model_validator

from needlework.corpus import read_questions, read_rows
from needlework.errors import DataError
from needlework.haystack import Haystack, Needle

NOTHING: tuple[Any, ...] = (None, [])
"""Values of keys that say nothing."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What a file holds."""

    haystacks: tuple[Haystack, ...]
    unanswered: int = 0
    """Questions without an answer, which were left out."""
    system: str | None = None
    """The system message of all the chats."""


def from_squad(path: Path) -> Converted:
    """Return a haystack for each context of a file in SQuAD's form, with all its questions.

    Args:
        path: A `.json` file in SQuAD's form, 1.1 or 2.0, or a `.jsonl` file with a question a line (see
            `needlework.corpus.passages`). The first answer is the one to train on.

    Raises:
        DataError: If the file is malformed, naming the place, or holds no question with an answer.
    """
    asked: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    unanswered = 0
    if path.is_dir():
        raise DataError(f"{path} is a folder. Give one .json or .jsonl file of questions.")
    for passage in read_questions(path):
        for question in passage.questions:
            if question.accepted:
                accepted = tuple(dict.fromkeys(question.accepted))
                asked.setdefault(passage.text, []).append((question.text, accepted))
            else:
                unanswered += 1
    if not asked:
        raise DataError(f"{path} holds no question with an answer.")
    haystacks = []
    for number, (text, questions) in enumerate(asked.items(), start=1):
        needles = [
            Needle(f"{number}/{index}", f"{number}/{index}", question, accepted[0], accepted, 0)
            for index, (question, accepted) in enumerate(questions)
        ]
        haystacks.append(Haystack(str(number), "squad", "", (text,), tuple(needles)))
    return Converted(tuple(haystacks), unanswered)


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    text.encode()  # fails, as a ValueError too, where it holds half of a surrogate pair
    return text


class _Message(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: Annotated[str, AfterValidator(_filled)]

    @model_validator(mode="before")
    @classmethod
    def _is_plain(cls, message: Any) -> Any:
        if isinstance(message, dict):
            _refuse({key: value for key, value in message.items() if key not in ("role", "content")})
        return message


def _refuse(more: dict[str, Any]) -> None:
    if lost := sorted(key for key, value in more.items() if value not in NOTHING):
        raise ValueError(f"a needle cannot hold {', '.join(lost)}. Remove the key, or leave the chat out")


class _Row(BaseModel):
    messages: list[_Message]
    # Templates show them to the model.
    tools: Annotated[Any, AfterValidator(lambda tools: _refuse({"tools": tools}))] = None


@dataclass(frozen=True, slots=True)
class _Chat:
    line: int
    system: str | None
    user: str
    assistant: str


def from_messages(path: Path) -> Converted:
    """Return haystacks that are rendered to the very messages of a file of chats.

    Chats whose user messages have at least half of their characters in common, at the beginning, are one haystack
    with a needle each. Its questions begin after the last blank line that is common to all; where there is none, they
    hold the whole message. Either way training computes once what the messages have in common.

    Args:
        path: A `.jsonl` file with a chat a line, `{"messages": [{"role": "user", "content": …}, {"role":
            "assistant", "content": …}]}`, the same system message before all of them or before none.

    Raises:
        DataError: If a line is malformed, is no such chat, or has another system message; names it.
    """
    chats = _read_chats(path)
    haystacks = [_haystack(group) for group in sorted(_groups(chats), key=lambda group: group[0].line)]
    return Converted(tuple(haystacks), system=chats[0].system)


def _read_chats(path: Path) -> list[_Chat]:
    chats: list[_Chat] = []
    for line, row in read_rows(path, _Row):
        roles = [message.role for message in row.messages]
        texts = [message.content for message in row.messages]
        if roles[-2:] != ["user", "assistant"] or roles[:-2] not in ([], ["system"]):
            raise DataError(
                f"{path}, line {line}: its messages are of {', '.join(roles) or 'nobody'}, but a needle is one "
                f"question and its answer: user, assistant, and perhaps system before them. Give each question a chat."
            )
        chat = _Chat(line, texts[0] if len(texts) == 3 else None, *texts[-2:])
        if chats and chat.system != chats[0].system:
            raise DataError(
                f"{path}, line {line}: its system message is not that of line {chats[0].line}, but a training has "
                f"one for all chats. Put chats with different system messages into different files."
            )
        chats.append(chat)
    if not chats:
        raise DataError(f"{path} holds no chats: it is empty.")
    return chats


def _groups(chats: Sequence[_Chat]) -> list[list[_Chat]]:
    """Return chats with a long common beginning together, each group in the order of the file."""
    groups: list[list[_Chat]] = []
    group: list[_Chat] = []
    beginning, longest = "", 0
    # In alphabetical order, those that share most are neighbours.
    for chat in sorted(chats, key=lambda chat: chat.user):
        shared = common_length(beginning, chat.user)
        if group and 2 * shared >= max(longest, len(chat.user)):
            group.append(chat)
            beginning, longest = beginning[:shared], max(longest, len(chat.user))
            continue
        groups.append([chat])
        # A chat that is too long for a group does not end it.
        if not group or 2 * shared < longest:
            group, beginning, longest = groups[-1], chat.user, len(chat.user)
    return [sorted(group, key=lambda chat: chat.line) for group in groups]


def common_length(one: str, other: str) -> int:
    """Return how many characters two texts share at their beginning."""
    low, high = 0, min(len(one), len(other))
    # Halving compares long texts at the speed of memory.
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _haystack(chats: Sequence[_Chat]) -> Haystack:
    messages = [chat.user for chat in chats]
    cut = _end_of_context(messages)
    name, start = str(chats[0].line), cut + len(BLANK_LINE) if cut else 0
    needles = [
        Needle(f"{name}/{index}", f"{name}/{index}", chat.user[start:], chat.assistant, (chat.assistant,), -1)
        for index, chat in enumerate(chats)
    ]
    items = (messages[0][:cut],) if cut else ()
    return Haystack(name, "messages", "", items, tuple(needles), {"lines": [chat.line for chat in chats]})


BLANK_LINE = "\n\n"


def _end_of_context(messages: Sequence[str]) -> int:
    """Return where the last blank line begins that all messages share, with text on both sides; 0 for none."""
    first, last = min(messages), max(messages)
    cut = first.rfind(BLANK_LINE, 0, common_length(first, last))
    while cut > 0 and not all(message[cut:].strip() for message in messages):
        cut = first.rfind(BLANK_LINE, 0, cut + 1)
    return cut if cut > 0 and first[:cut].strip() else 0
