"""The records that cross between stages, and their one reader and one writer.

A `Haystack` is one context with the `Needle`s asked of it; a `Prediction` is what a model answered.
All three are stored as JSON, one record a line. A haystack written by hand needs its items, and the question
and answer of each needle; the reader fills in the rest.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from needlework.errors import DataError
from needlework.storage import unique_keys, write_chunks


@dataclass(frozen=True, slots=True)
class Needle:
    """A question about a haystack."""

    id: str
    group: str
    """Names the question across its reorderings: a position sweep asks one group at several positions."""
    question: str
    answer: str
    """The text to train on."""
    accepted: tuple[str, ...]
    """The strings that count as found when scoring."""
    position: int
    """Index, from 0, of the gold item; -1 where no item holds the answer, or it is not known which does."""

    def __post_init__(self) -> None:
        if isinstance(self.accepted, str):  # each of its letters would count as an answer
            raise TypeError(f"accepted should be a tuple of strings, not {self.accepted!r}")


@dataclass(frozen=True, slots=True)
class Haystack:
    """One context and the needles asked of it: the preamble, the items, then one of the questions."""

    id: str
    task: str
    preamble: str
    items: tuple[str, ...]
    needles: tuple[Needle, ...]
    meta: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def context(self) -> str:
        """What all needles are asked about: preamble and items, the items joined by newlines."""
        return "\n\n".join(part for part in (self.preamble, "\n".join(self.items)) if part)

    def message(self, needle: Needle) -> str:
        """Return the user message that asks `needle`: the context, a blank line, the question."""
        return "\n\n".join(part for part in (self.context, needle.question) if part)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered to a needle, and whether it hit, with everything that a report shows of it."""

    id: str
    haystack: str
    group: str
    question: str
    accepted: tuple[str, ...]
    gold: str
    """The item that holds the answer, or an empty string."""
    position: int
    place: str
    """The gold position as it is tabulated, such as "3" or "50%"; empty where there is none."""
    length: int | None
    """The token budget of the haystack, where the benchmark has several."""
    prompt_tokens: int
    output: str
    hit: bool
    extra: dict[str, bool] = field(default_factory=dict, hash=False)
    """Further yes-or-no scores of the same output, by name."""
    output_tokens: int | None = None
    """The tokens that were generated, where the backend counts them."""
    cluster: str = ""
    """What needles of several haystacks share, such as the paragraph they ask about; empty where it is nothing."""
    prompt: str = ""
    """Hash of the user message, by which comparisons know that two models were asked the same."""


LOWER_IS_BETTER = frozenset({"memory", "invented", "withheld"})
"""Further scores of a prediction that count a fault, so that a rise is a loss."""

Record = TypeVar("Record", Needle, Haystack, Prediction)

CONVERTED = {"messages": "messages", "context": "squad", "answers": "squad", "data": "squad"}
"""Fields of other formats, and the kind of `needlework convert` that reads them."""

_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "str": (str, "a string"),
    "int": (int, "an integer"),
    "bool": (bool, "true or false"),
    "int | None": ((int, type(None)), "an integer or null"),
    "tuple[str, ...]": (list, "a list of strings"),
    "tuple[Needle, ...]": (list, "a list of objects"),
    "dict[str, Any]": (dict, "an object"),
    "dict[str, bool]": (dict, "an object"),
}
"""By a field's type: the types that JSON has for it, and what to call them."""

_FILLED_IN: dict[tuple[type, str], Callable[[str, dict[str, Any]], Any]] = {
    (Haystack, "id"): lambda name, fields: name,
    (Haystack, "task"): lambda name, fields: "own",
    (Haystack, "preamble"): lambda name, fields: "",
    (Haystack, "items"): lambda name, fields: (),
    (Haystack, "meta"): lambda name, fields: {},
    (Needle, "id"): lambda name, fields: name,
    (Needle, "group"): lambda name, fields: fields["id"],
    (Needle, "accepted"): lambda name, fields: (fields["answer"],),
    (Needle, "position"): lambda name, fields: -1,
    (Prediction, "extra"): lambda name, fields: {},
    (Prediction, "output_tokens"): lambda name, fields: None,
    **dict.fromkeys([(Prediction, "cluster"), (Prediction, "prompt")], lambda name, fields: ""),
}
"""The value of a field that a line leaves out, from the record's name and the fields before it."""

_NOT_EMPTY = {
    "items": "give the text, or leave items out where the questions hold it",
    "needles": "ask at least one question",
    "question": "ask something",
    "answer": "give the text to train on",
}
"""Fields of haystacks and needles that hold something where they are given, and what to do if not."""


def to_json(record: Haystack | Needle | Prediction) -> str:
    """Return the record as one line of JSON, without the newline."""
    fields = dataclasses.asdict(record)
    if not fields.get("items", True):
        del fields["items"]  # as the reader wants it
    return json.dumps(fields, ensure_ascii=False)


def from_json(kind: type[Record], line: str, number: int = 1) -> Record:
    """Read one record of the given kind from a line of JSON.

    Args:
        kind: Haystack, Needle or Prediction.
        line: The JSON.
        number: The line's number, from 1: the id of a haystack that has none.

    Raises:
        DataError: If the line is not JSON, or a field is missing, unknown, empty or of the wrong type.
    """
    try:
        value = json.loads(line, object_pairs_hook=unique_keys)
        # A model may output half of a surrogate pair; nobody can train on one.
        if kind is not Prediction and "\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise DataError(f"not a JSON record, one a line: {error.msg} at column {error.colno}") from None
    except UnicodeEncodeError:
        raise DataError("not text: it holds half of a surrogate pair, such as \\ud800") from None
    except (ValueError, RecursionError):
        # Python reads no number of more than 4,300 digits, and no depth of a thousand.
        raise DataError("not a JSON record: it holds a number too long to be read, or is nested too deeply") from None
    record = _build(kind, value, str(number))
    if isinstance(record, Haystack):
        _check_positions(record)
    return record


def _build(kind: type[Record], value: object, name: str, place: str = "") -> Record:
    """Build a record from what the JSON holds, with `name` as its id where it has none; `place` is for messages."""
    place = place or kind.__name__
    if not isinstance(value, dict):
        raise DataError(f"{place} should be an object, not {_short(value)}")
    fields = {each.name: each for each in dataclasses.fields(kind)}
    if unknown := sorted(set(value) - set(fields)):
        tool = CONVERTED.get(unknown[0], "")
        convert = f". To make haystacks of such a file: needlework convert {tool}" if tool else ""
        raise DataError(f"{place} has no field {unknown[0]!r}; its fields are {', '.join(fields)}{convert}")
    values: dict[str, Any] = {}
    for key, each in fields.items():
        if key in value:
            values[key] = _convert(f"{place}.{key}", str(each.type), value[key], values)
        elif (kind, key) in _FILLED_IN:
            values[key] = _FILLED_IN[kind, key](name, values)
        else:
            raise DataError(f"{place} lacks the field {key!r}")
        if kind is not Prediction and key in value and key in _NOT_EMPTY and _is_blank(value[key]):
            raise DataError(f"{place}.{key} is empty: {_NOT_EMPTY[key]}")
    return kind(**values)


def _convert(place: str, kind: str, value: Any, fields: dict[str, Any]) -> Any:
    types, called = _KINDS[kind]
    # bool is a subclass of int, so `true` would pass for a position.
    if not isinstance(value, types) or (isinstance(value, bool) and kind != "bool"):
        raise DataError(f"{place} should be {called}, not {_short(value)}")
    if kind == "tuple[Needle, ...]":
        # Messages about needles are long enough without the name of the record.
        parts = enumerate(cast("list[object]", value))
        return tuple(_build(Needle, part, f"{fields['id']}/{index}", f"needles[{index}]") for index, part in parts)
    if kind == "dict[str, bool]":
        for key, part in cast("dict[str, Any]", value).items():
            if not isinstance(part, bool):
                raise DataError(f"{place}.{key} should be true or false, not {_short(part)}")
    if kind == "tuple[str, ...]":
        strings = cast("list[Any]", value)
        for index, part in enumerate(strings):
            if not isinstance(part, str):
                raise DataError(f"{place}[{index}] should be a string, not {_short(part)}")
            if _is_blank(part):
                raise DataError(f"{place}[{index}] is empty: leave it out")
        return tuple(strings)
    return value


def _is_blank(value: Any) -> bool:
    return not (value.strip() if isinstance(value, str) else value)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:40] + "…"


def _check_positions(haystack: Haystack) -> None:
    for index, needle in enumerate(haystack.needles):
        if not -1 <= needle.position < len(haystack.items):
            raise DataError(
                f"needles[{index}].position is {needle.position}, but there are {len(haystack.items)} items, "
                f"counted from 0; it may be left out"
            )


def read(kind: type[Record], path: str | os.PathLike[str]) -> Iterator[Record]:
    """Yield the records of a JSONL file.

    Raises:
        DataError: If the file cannot be read or a line is malformed; names file and line.
    """
    return (record for _, record in read_lines(kind, path))


def read_lines(kind: type[Record], path: str | os.PathLike[str]) -> Iterator[tuple[int, Record]]:
    """Yield the number of each line of a JSONL file, from 1, and its record.

    Raises:
        DataError: If the file cannot be read or a line is malformed; names file and line.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        # Some editors begin a file with a byte order mark.
                        yield number, from_json(kind, line.decode("utf-8-sig"), number)
                    except UnicodeDecodeError as error:
                        raise DataError(f"{path}, line {number}: not UTF-8 text at byte {error.start}") from None
                    except DataError as error:
                        raise DataError(f"{path}, line {number}: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def read_named(path: str | os.PathLike[str]) -> Iterator[tuple[int, Haystack]]:
    """Yield the number of each line of a JSONL file and its haystack, no id of which comes twice.

    Raises:
        DataError: As `read_lines` does, or if a haystack or needle has the id of another; names both lines.
    """
    lines: dict[tuple[str, str], int] = {}
    for line, haystack in read_lines(Haystack, path):
        for kind, name in [("id", haystack.id), *(("needle id", needle.id) for needle in haystack.needles)]:
            if (kind, name) in lines:
                raise DataError(
                    f"{path}, line {line}: the {kind} {name!r} is on line {lines[kind, name]} already. "
                    f"Give each its own, or leave all of them out."
                )
            lines[kind, name] = line
        yield line, haystack


def write(records: Iterable[Haystack | Prediction], path: str | os.PathLike[str]) -> int:
    """Write records as JSONL, under a temporary name until all are written; return how many."""
    count = 0

    def lines() -> Iterator[bytes]:
        nonlocal count
        for count, record in enumerate(records, start=1):  # noqa: B007
            yield (to_json(record) + "\n").encode()

    path = Path(path)
    # The folder is the user's, who may have a file of a plainer name there.
    write_chunks(path, lines(), path.with_name(f".{path.name}.tmp"))
    return count
