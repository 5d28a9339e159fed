"""The records that cross between stages, and their one reader and one writer.

A `Haystack` is one context with the `Needle`s asked of it; a `Prediction` is what a model answered.
All three are stored as JSON, one record a line.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from needlework.errors import DataError


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
    """Index, from 0, of the gold item; -1 where no item holds the answer."""


@dataclass(frozen=True, slots=True)
class Haystack:
    """One context and the needles asked of it: the preamble, the items, then one of the questions."""

    id: str
    task: str
    preamble: str
    items: tuple[str, ...]
    needles: tuple[Needle, ...]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def context(self) -> str:
        """What all needles are asked about: preamble and items, the items joined by newlines."""
        return "\n\n".join(part for part in (self.preamble, "\n".join(self.items)) if part)

    def message(self, needle: Needle) -> str:
        """Return the user message that asks `needle`: the context, a blank line, the question."""
        return "\n\n".join(part for part in (self.context, needle.question) if part)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model said to a needle, and whether it hit. It holds all that a report shows of it."""

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
    extra: dict[str, bool] = field(default_factory=dict)
    """Further yes-or-no scores of the same output, by name."""


Record = TypeVar("Record", Needle, Haystack, Prediction)

_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "int | None": (int, type(None)),
    "tuple[str, ...]": list,
    "tuple[Needle, ...]": list,
    "dict[str, Any]": dict,
    "dict[str, bool]": dict,
}


def to_json(record: Haystack | Needle | Prediction) -> str:
    """Return the record as one line of JSON, without the newline."""
    return json.dumps(dataclasses.asdict(record), ensure_ascii=False)


def from_json(kind: type[Record], line: str) -> Record:
    """Read one record of the given kind from a line of JSON.

    Raises:
        DataError: If the line is not JSON, or a field is missing, unknown or of the wrong type.
    """
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"not a JSON record: {error.msg} at column {error.colno}") from None
    return _build(kind, value)


def _build(kind: type[Record], value: object) -> Record:
    name = kind.__name__
    if not isinstance(value, dict):
        raise DataError(f"a {name} is a JSON object, not {type(value).__name__}")
    fields = {each.name: each for each in dataclasses.fields(kind)}
    if unknown := sorted(set(value) - set(fields)):
        raise DataError(f"{name} has no field {unknown[0]!r}; its fields are {', '.join(fields)}")
    values: dict[str, Any] = {}
    for key, each in fields.items():
        if key not in value:
            if each.default_factory is dataclasses.MISSING:
                raise DataError(f"{name} lacks the field {key!r}")
            continue
        values[key] = _convert(f"{name}.{key}", str(each.type), value[key])
    return kind(**values)


def _convert(name: str, kind: str, value: Any) -> Any:
    # bool is a subclass of int, so `true` would pass for a position.
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise DataError(f"{name} should be {kind}, not {type(value).__name__}")
    if kind == "tuple[Needle, ...]":
        return tuple(_build(Needle, part) for part in cast("list[object]", value))
    if kind == "tuple[str, ...]":
        parts = cast("list[object]", value)
        if not all(isinstance(part, str) for part in parts):
            raise DataError(f"{name} should hold strings only")
        return tuple(parts)
    return value


def read(kind: type[Record], path: str | os.PathLike[str]) -> Iterator[Record]:
    """Yield the records of a JSONL file.

    Raises:
        DataError: If the file cannot be read or a line is malformed; names file and line.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        yield from_json(kind, line)
                    except DataError as error:
                        raise DataError(f"{path}, line {number}: {error}") from None
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {path}: not UTF-8 text at byte {error.start}") from None


def write(records: Iterable[Haystack | Prediction], path: str | os.PathLike[str]) -> int:
    """Write records as JSONL, under a temporary name until all are written; return how many."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    count = 0
    with temporary.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(to_json(record) + "\n")
            count += 1
    temporary.replace(path)
    return count
