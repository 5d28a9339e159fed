"""The kinds of fictional records, and how a record becomes prose. The forms themselves are in records.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from needlework.tasks.invented import Draws, pick


@dataclass(frozen=True, slots=True)
class Attribute:
    """A value that differs between a record and its siblings, and that is asked for."""

    sentences: tuple[str, ...]
    """Main clauses that state it, without capital and full stop."""
    questions: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Kind:
    """What records of a kind hold, and the forms they are written in."""

    name: str
    identity: tuple[str, ...]
    """The two names by which a record is asked for."""
    shared: tuple[str, ...]
    """Values that siblings have in common."""
    openings: tuple[str, ...]
    """First sentences: identity, shared values, and perhaps some that are asked for."""
    asked: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class Record:
    """One record: a value for each name in its kind's identity, shared and asked."""

    kind: Kind
    values: Mapping[str, str]

    @property
    def identity(self) -> tuple[str, ...]:
        """What no other record of its haystack shares: its kind and its two names."""
        return (self.kind.name, *(self.values[name] for name in self.kind.identity))

    @property
    def text(self) -> str:
        """All its values, one per line."""
        return "\n".join(self.values.values())


# How many values each sentence after the opening states, by how many values are left to state.
LAYOUTS = {
    2: ((2,), (1, 1)),
    3: ((1, 2), (2, 1), (1, 1, 1)),
    4: ((2, 2), (1, 1, 2), (1, 2, 1), (2, 1, 1)),
}
JOINTS = (", and ", ", and ", "; ")
PRONOUNS = (
    {"she": "she", "her": "her", "him": "her", "hers": "hers"},
    {"she": "he", "her": "his", "him": "him", "hers": "his"},
)


@cache
def kinds() -> dict[str, Kind]:
    """Return the kinds of records by name."""
    source = (files("needlework.tasks") / "records.yaml").read_text(encoding="utf-8")
    return {name: _kind(name, given) for name, given in yaml.safe_load(source).items()}


def _kind(name: str, given: dict[str, Any]) -> Kind:
    asked = {
        value: Attribute(_lines(forms["sentences"]), _lines(forms["questions"]), forms["answer"])
        for value, forms in given["asked"].items()
    }
    return Kind(name, tuple(given["identity"]), tuple(given["shared"]), _lines(given["openings"]), asked)


def _lines(block: str) -> tuple[str, ...]:
    return tuple(block.splitlines())


def prose(record: Record, draws: Draws) -> str:
    """Return two to four sentences that state each value of the record once, in random order."""
    opening = pick(draws, record.kind.openings)
    left = [name for name in record.kind.asked if name not in fields(opening)]
    left.sort(key=lambda name: next(draws))
    clauses = iter([pick(draws, record.kind.asked[name].sentences) for name in left])
    sentences = [opening]
    for size in pick(draws, LAYOUTS[len(left)]):
        joint = pick(draws, JOINTS)
        sentences.append(joint.join(next(clauses) for _ in range(size)) + ".")
    pronouns = pick(draws, PRONOUNS)
    return " ".join(_capitalised(sentence.format(**record.values, **pronouns)) for sentence in sentences)


@cache
def fields(form: str) -> frozenset[str]:
    """Return the names of the values that a form states."""
    return frozenset(re.findall(r"\{(\w+)\}", form))


def _capitalised(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
