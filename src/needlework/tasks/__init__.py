"""Synthetic tasks: pure functions from a random generator and a number of items to a haystack."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from needlework.errors import RecipeError
from needlework.sections import suggest
from needlework.tasks.absent import Absent
from needlework.tasks.chain import Chain
from needlework.tasks.collect import Collect
from needlework.tasks.in2 import IN2
from needlework.tasks.mdqa import MDQA
from needlework.tasks.mixture import Mixture
from needlework.tasks.multi_subkey import MultiSubkey
from needlework.tasks.multidocqa import MultidocQA
from needlework.tasks.near_duplicates import NearDuplicates
from needlework.tasks.niah import NIAH
from needlework.tasks.protocol import Task, make
from needlework.tasks.records import Records
from needlework.tasks.same_key import SameKey
from needlework.tasks.simple_dict import SimpleDict

__all__ = ["TASKS", "make", "make_task", "reads_text", "sources"]

TASKS: dict[str, type[Task]] = {
    "simple_dict": SimpleDict,
    "multi_subkey": MultiSubkey,
    "near_duplicates": NearDuplicates,
    "same_key": SameKey,
    "collect": Collect,
    "chain": Chain,
    "absent": Absent,
    "records": Records,
    "mixture": Mixture,
    "mdqa": MDQA,
    "multidocqa": MultidocQA,
    "in2": IN2,
    "niah": NIAH,
}


def make_task(name: str, params: Mapping[str, Any] | None = None) -> Task:
    """Return the named task with the given parameters, and its own for the others.

    Raises:
        RecipeError: If there is no such task or parameter; suggests the nearest.
    """
    if name not in TASKS:
        raise RecipeError(f"there is no task {name!r}.{suggest(name, [*TASKS])}")
    kind = TASKS[name]
    known = {each.name: each for each in dataclasses.fields(cast(Any, kind))}
    given = params or {}
    for key in given:
        if key not in known:
            raise RecipeError(f"task {name} has no parameter {key!r}.{suggest(key, [*known])}")
    # A single number is shorthand for a list of one.
    wrapped = {
        key: (value,) if isinstance(known[key].default, tuple) and not isinstance(value, (list, tuple)) else value
        for key, value in given.items()
    }
    for key, value in wrapped.items():
        if isinstance(known[key].default, tuple) and not value:
            raise RecipeError(
                f"task {name}: {key} is empty, and there is nothing to draw from. Give one value or more."
            )
    try:
        return TypeAdapter(kind).validate_python(wrapped)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"]))
        raise RecipeError(f"task {name}: {path} is {first['input']!r}: {first['msg'].lower()}.") from None


def sources(params: Mapping[str, Any]) -> list[str]:
    """Return the user's files and folders that a task with these parameters reads, including a mixture's parts."""
    found = [value for name, value in params.items() if name in ("source", "distractors") and value]
    for value in params.values():
        found += sources(value) if isinstance(value, Mapping) else []
    return found


def reads_text(name: str, params: Mapping[str, Any]) -> bool:
    """Return whether a task's haystacks, or those of any part of a mixture, hold real text, embedded or the user's."""
    if name == "mixture":
        parts = params.get("parts", {})
        return any(reads_text(part, _params(given)) for part, given in parts.items())
    return any(each.name == "source" for each in dataclasses.fields(cast(Any, TASKS[name])))


def _params(part: object) -> Mapping[str, Any]:
    """Return the parameters of a mixture's part, which is either just a weight or has parameters next to it."""
    return (part.get("params") or {}) if isinstance(part, Mapping) else {}
