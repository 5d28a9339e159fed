"""Which needles two evaluations are compared on: those that both models answered, asked in the same way."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from needlework.errors import DataError
from needlework.haystack import Prediction, read
from needlework.storage import read_object


class Pair(NamedTuple):
    """What was said to one needle before and after."""

    before: Prediction
    after: Prediction


_ELSEWHERE = frozenset({"file", "source", "include_path", "base", "controls", "tasks", "limit", "batch_size"})
"""Settings that may differ: where files are on a machine, and which other questions are asked."""


_LEFT_OUT = frozenset({"fewshot", "haystacks", "positions", "text"})
"""Settings that a folder holds only where they are not None."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model said to a benchmark."""

    folder: Path
    name: str
    predictions: dict[str, Prediction]
    """By the needle's id."""
    skipped: frozenset[str]
    """The needles that it was not asked, because their prompts exceed its context."""


def read_answers(folder: Path, name: str) -> Answered:
    """Read what a model said to a benchmark.

    Raises:
        DataError: If a file is missing or malformed; names it.
    """
    path, predictions = folder / f"predictions-{name}.jsonl", dict[str, Prediction]()
    for each in read(Prediction, path):
        if each.id in predictions:
            raise DataError(f"{path} is damaged: it has the needle {each.id!r} twice.")
        predictions[each.id] = each
    skipped = _skipped(folder / f"skipped-{name}.jsonl") - predictions.keys()
    return Answered(folder, name, predictions, skipped)


def pair(before: Answered, after: Answered) -> list[Pair]:
    """Return what two models said to each needle that both were asked, in the order of the first.

    Raises:
        DataError: If they were asked differently, or one was not asked a needle that is not too long for it; or if
            they have no needle in common.
    """
    name, first, second = before.name, before.predictions, after.predictions
    check_settings(name, before.folder, after.folder)
    everything, shared = first.keys() | second.keys(), first.keys() & second.keys()
    differ = {id for id in shared if not _are_alike(first[id], second[id])}
    differ |= everything - shared - before.skipped - after.skipped
    if differ:
        raise DataError(
            f"{name} was asked differently in {before.folder} and {after.folder}: {len(differ)} of {len(everything)} "
            f"needles differ, such as {min(differ)!r}. Evaluate both with one recipe and one seed."
        )
    if not shared:
        raise DataError(
            f"{before.folder} and {after.folder} have no answered needle of {name} in common: {len(before.skipped)} "
            f"were too long for the first and {len(after.skipped)} for the second. Ask shorter ones."
        )
    return [Pair(first[id], second[id]) for id in first if id in shared]


def check_settings(name: str, before: Path, after: Path, *, seed: bool = False) -> None:
    """Check that two evaluations have the same settings of a benchmark or measure, as far as their folders hold them.

    Args:
        name: The benchmark's or measure's name.
        before: The folder of one evaluation.
        after: That of the other.
        seed: Whether their seeds have to be the same, because nothing else tells what was drawn.

    Raises:
        DataError: If a setting differs; names it.
    """
    first, second = (_settings(folder / "settings.json", name, seed) for folder in (before, after))
    compared = first.keys() & second.keys()
    if first and second:
        compared |= _LEFT_OUT
    for key in sorted(compared - _ELSEWHERE):
        if first.get(key) != second.get(key):
            raise DataError(
                f"{name} was asked differently in {before} and {after}: {key} is {first.get(key)!r} in the first and "
                f"{second.get(key)!r} in the second. Evaluate both with one recipe."
            )


def _are_alike(first: Prediction, second: Prediction) -> bool:
    """Return whether two answers are to the same text; lm-eval's, and those of earlier versions, have no hash of it."""
    names = ("haystack", "question", "accepted", "gold", "place", "length")
    if any(getattr(first, name) != getattr(second, name) for name in names):
        return False
    return first.prompt == second.prompt or not (first.prompt and second.prompt)


def _skipped(path: Path) -> frozenset[str]:
    try:
        return frozenset(json.loads(line)["id"] for line in path.read_text(encoding="utf-8").split("\n") if line)
    except FileNotFoundError:
        return frozenset()
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path} is damaged: each line should hold an id and a reason.") from None


def system_message(folder: Path) -> str | None:
    """Return the system message that the model of an evaluation was given.

    Raises:
        DataError: If the folder's settings are damaged.
    """
    saved = read_object(folder / "settings.json", "model") or {}
    system: str | None = saved.get("model", {}).get("system")
    return system


def _settings(path: Path, name: str, seed: bool) -> dict[str, Any]:
    saved = read_object(path, "benchmarks") or {}
    sections = saved.get("benchmarks", {})
    # Controls such as `mdqa_oracle` have the settings of `mdqa`, and the tasks of lm-eval share theirs.
    found = (sections[each] for each in (name, name.partition("_")[0], "general") if each in sections)
    try:
        return dict(next(found, {})) | ({"seed": saved["seed"]} if seed and "seed" in saved else {})
    except (ValueError, TypeError):
        raise DataError(f"{path} is damaged: it should hold the settings of an evaluation.") from None
