"""Which needles two evaluations are compared on: those that both models answered, asked in the same way."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needlework.errors import DataError
from needlework.haystack import Prediction, read

Pair = tuple[Prediction, Prediction]

_ELSEWHERE = frozenset({"file", "source", "include_path", "controls", "tasks", "limit", "batch_size"})
"""Settings on which no answer to a needle depends: where texts lie on a machine, and what is asked besides it."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model said to a benchmark."""

    folder: Path
    name: str
    predictions: dict[str, Prediction]
    """By the needle's id."""
    skipped: frozenset[str]
    """The needles that it was not asked, because their prompts exceed its context."""
    settings: dict[str, Any]
    """How the benchmark was asked, as far as the folder says so."""


def read_answers(folder: Path, name: str) -> Answered:
    """Read what a model said to a benchmark.

    Raises:
        DataError: If a file is missing or malformed; names it.
    """
    predictions = {each.id: each for each in read(Prediction, folder / f"predictions-{name}.jsonl")}
    skipped = _skipped(folder / f"skipped-{name}.jsonl") - predictions.keys()
    return Answered(folder, name, predictions, skipped, _settings(folder / "settings.json", name))


def pair(before: Answered, after: Answered) -> list[Pair]:
    """Return what two models said to each needle that both were asked, in the order of the first.

    Raises:
        DataError: If they were asked differently, or one was not asked a needle that is not too long for it; or if
            they have no needle in common.
    """
    name, first, second = before.name, before.predictions, after.predictions
    start = f"{name} was asked differently in {before.folder} and {after.folder}"
    for key in sorted(before.settings.keys() & after.settings.keys() - _ELSEWHERE):
        if before.settings[key] != after.settings[key]:
            raise DataError(
                f"{start}: {key} is {before.settings[key]!r} in the first and {after.settings[key]!r} in the second. "
                f"Evaluate both with one recipe."
            )
    everything, shared = first.keys() | second.keys(), first.keys() & second.keys()
    differ = {id for id in shared if _asked(first[id]) != _asked(second[id])}
    differ |= everything - shared - before.skipped - after.skipped
    if differ:
        raise DataError(
            f"{start}: {len(differ)} of {len(everything)} needles differ, such as {min(differ)!r}. "
            f"Evaluate both with one recipe."
        )
    if not shared:
        raise DataError(
            f"{before.folder} and {after.folder} have no answered needle of {name} in common: {len(before.skipped)} "
            f"were too long for the first and {len(after.skipped)} for the second. Ask shorter ones."
        )
    return [(first[id], second[id]) for id in first if id in shared]


def _asked(each: Prediction) -> object:
    return each.haystack, each.question, each.accepted, each.gold, each.place, each.length


def _skipped(path: Path) -> frozenset[str]:
    try:
        return frozenset(json.loads(line)["id"] for line in path.read_text(encoding="utf-8").split("\n") if line)
    except FileNotFoundError:
        return frozenset()
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path} is damaged: each line should hold an id and a reason.") from None


def _settings(path: Path, name: str) -> dict[str, Any]:
    try:
        sections = json.loads(path.read_text(encoding="utf-8")).get("benchmarks", {})
        # Controls such as `mdqa_oracle` have the settings of `mdqa`, and the tasks of lm-eval share theirs.
        found = (sections[each] for each in (name, name.partition("_")[0], "general") if each in sections)
        return dict(next(found, {}))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise DataError(f"{path} is damaged: it should hold the settings of an evaluation.") from None
