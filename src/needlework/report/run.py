"""Reading and checking a finished run, or a comparison of any number of runs, for its report."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needlework.errors import DataError
from needlework.haystack import Prediction
from needlework.report import text
from needlework.report.pairing import Answered, Pair, pair, read_answers
from needlework.visible import visible

_ROW = ("n", "clusters", "before", "before_low", "before_high", "after", "after_low", "after_high",
        "change", "low", "high", "p")  # fmt: skip
_MEASURE = ("n", "clusters", "before", "after", "change", "low", "high", "p")
_STEP = ("step", "loss", "answer_accuracy")
_CONTRAST = ("before", "after", "change", "low", "high")
_TABLES = ("by_position", "by_length", "by_length_and_position")
_AGAIN = "delete the file and run the command that writes it again"

Answers = tuple[Prediction | None, ...]
"""What each run said to one needle, in the order of the runs; None from a run that was not asked."""


@dataclass(frozen=True)
class Side:
    """One run against the first."""

    label: str
    model: str
    benchmarks: dict[str, dict[str, Any]]
    measures: dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True)
class Run:
    """All that a report reads, checked."""

    folder: Path
    comparison: dict[str, Any]
    labels: list[str]
    """What the first run and each of `sides` are called: "before" and "after", or the models' names."""
    sides: list[Side]
    mean: Side | None
    """The mean of the runs against the first, where they are trainings of one recipe; it has no answers."""
    answers: dict[str, list[Answers]]
    """By benchmark, in the order of the first run's file, with what was too long for the first run at the end; a second
    score such as "kv.whole" has none of its own."""
    steps: list[dict[str, Any]]
    training: dict[str, Any]
    """Empty where nothing was trained."""
    seconds: list[float]
    """How long each run took to answer the benchmarks."""
    measure_titles: dict[str, str]
    """What a numeric measure is called, where the first run's summary says so."""
    environment: dict[str, Any]
    commands: list[str]
    """What made the run, in order."""
    recipe: str

    @property
    def compared(self) -> list[Side]:
        """What has rows against the first run: each run, then their mean."""
        return [*self.sides, *([self.mean] if self.mean else [])]

    @property
    def names(self) -> list[str]:
        """What the first run and each of `compared` are called."""
        return [self.labels[0], *(side.label for side in self.compared)]

    @property
    def titles(self) -> dict[str, str]:
        """The title of each benchmark, in order."""
        titles: dict[str, str] = {}
        for side in self.compared:
            titles |= {name: each["title"] for name, each in side.benchmarks.items() if name not in titles}
        return titles

    def tables(self, name: str, table: str) -> list[dict[str, Any]]:
        """Return a table of a benchmark for each of `compared`, empty where one has none."""
        return [side.benchmarks.get(name, {}).get(table, {}) for side in self.compared]

    def pairs(self, name: str, side: int) -> list[Pair]:
        """Return the needles of a benchmark that both the first run and another were asked."""
        asked = ((each[0], each[side + 1]) for each in self.answers[name])
        return [Pair(before, after) for before, after in asked if before and after]


def load(folder: Path) -> Run:
    """Read and check a run's folder.

    Raises:
        DataError: If a file is missing or malformed; names it and the command that writes it.
    """
    path = folder / "comparison.json"
    comparison = _comparison(path)
    others = [comparison, *comparison.get("others", [])]
    labels = text.labels([comparison["before"], *(each["after"] for each in others)])
    mean = comparison.get("mean")
    averaged = Side(mean["after"], mean["after"], mean["benchmarks"], {}) if mean else None
    sides = [Side(label, str(each["after"]), each["benchmarks"], each.get("measures", {}))
             for label, each in zip(labels[1:], others, strict=True)]  # fmt: skip
    folders = [folder / each for each in _folders(path, comparison, len(labels))]
    summaries = [_summary(each / "summary.json") for each in folders]
    steps, training = [], {}
    if (folder / "train").is_dir():
        training = _object(folder / "train/summary.json", "needlework finetune")
        steps = _steps(folder / "train/metrics.jsonl")
    names = dict.fromkeys(name.split(".")[0] for side in sides for name in side.benchmarks)
    return Run(
        folder,
        comparison,
        labels,
        sides,
        averaged,
        {name: _answers(folders, name, [name in side.benchmarks for side in sides]) for name in names},
        steps,
        training,
        [sum(part["seconds"] for part in each["benchmarks"].values()) for each in summaries],
        {name: str(part.get("title", name)) for name, part in _table(path, summaries[0], "measures").items()},
        _environment(folder),
        _commands(folder, folders, ["--mean"] if mean else []),
        _text(folder / "recipe.yaml", "") if (folder / "recipe.yaml").exists() else "",
    )


def _comparison(path: Path) -> dict[str, Any]:
    comparison = _object(path, "needlework compare")
    _require(path, comparison, ("before", "after", "level", "method", "benchmarks"))
    if not comparison["benchmarks"] and not comparison.get("measures"):
        raise DataError(f"{path} compares no benchmark; evaluate one before and after, then compare again")
    _require(path, comparison, ("level",), numbers=True)
    if not isinstance(comparison.get("others", []), list):
        raise DataError(f"{path}: others should be a JSON list; {_AGAIN}")
    mean = [comparison["mean"]] if "mean" in comparison else []
    for side in [comparison, *comparison.get("others", []), *mean]:
        _require(path, side, ("after", "benchmarks"))
        side["benchmarks"] = {
            name: _benchmark(f"{path}, {name}", each) for name, each in _table(path, side, "benchmarks").items()
        }
        measures = _table(path, side, "measures")
        for name in measures:
            for value, row in _table(path, measures, name).items():
                _require(f"{path}, {name}, {value}", row, _MEASURE, numbers=True)
    return comparison


def _benchmark(where: str, each: Any) -> dict[str, Any]:
    _require(where, each, ("title", "overall"))
    tables = {name: _table(where, each, name) for name in _TABLES}
    by_position, by_length, by_both = tables.values()
    rows = [each["overall"], *by_position.values(), *by_length.values()]
    for row in rows + [row for length in by_both for row in _table(where, by_both, length).values()]:
        _require(where, row, _ROW, numbers=True)
    shape = {name: each[name] for name in ("middle_dip", "primacy") if name in each}
    for name, row in shape.items():
        _require(f"{where}, {name}", row, _CONTRAST, numbers=True)
    skipped = _table(where, each, "skipped")
    if skipped:
        _require(f"{where}, skipped", skipped, ("before", "after"), numbers=True)
    unlike = _table(where, each, "unlike")
    for name in unlike:
        _require(f"{where}, unlike, {name}", _table(f"{where}, unlike", unlike, name), ("before", "after"))
    cut = _table(where, each, "cut")
    if cut:
        _require(f"{where}, cut", cut, ("before", "after"), numbers=True)
        _require(where, each, ("limit",), numbers=True)
    found = {
        "title": visible(str(each["title"])),
        "meaning": visible(str(each.get("meaning", ""))),
        "overall": each["overall"],
        "skipped": skipped,
        "unlike": unlike,
    }
    return found | {"cut": cut, "limit": each.get("limit")} | tables | shape


def _table(where: object, value: dict[str, Any], name: str) -> dict[str, Any]:
    table = value.get(name) or {}
    if not isinstance(table, dict):
        raise DataError(f"{where}: {name} should be a JSON object; {_AGAIN}")
    return table


def _folders(path: Path, comparison: dict[str, Any], count: int) -> list[str]:
    """Return the folders of the evaluations, from the comparison's own; a run's, where it names none."""
    folders = comparison.get("folders") or ["before", "after"]
    if not isinstance(folders, list) or len(folders) != count or not all(isinstance(each, str) for each in folders):
        raise DataError(f"{path}: folders should name the {count} evaluations that were compared; {_AGAIN}")
    return folders


def _answers(folders: list[Path], name: str, asked: list[bool]) -> list[Answers]:
    """Read what each run said, and check that those compared with the first were asked the same needles."""

    def said(folder: Path) -> Answered:
        _present(folder / f"predictions-{name}.jsonl", "needlework evaluate")
        return read_answers(folder, name)

    first = said(folders[0])
    others = [said(folder) if wanted else None for folder, wanted in zip(folders[1:], asked, strict=True)]
    for other in filter(None, others):
        pair(first, other)
    outputs = [first.predictions, *(other.predictions if other else {} for other in others)]
    return [tuple(side.get(id) for side in outputs) for id in dict.fromkeys(id for side in outputs for id in side)]


def _steps(path: Path) -> list[dict[str, Any]]:
    steps = []
    for number, line in enumerate(_text(path, "needlework finetune").splitlines(), start=1):
        if line.strip():
            step = _parse(f"{path}, line {number}", line)
            _require(f"{path}, line {number}", step, _STEP, numbers=True)
            steps.append(step)
    return steps


def _summary(path: Path) -> dict[str, Any]:
    summary = _object(path, "needlework evaluate")
    _require(path, summary, ("benchmarks",))
    for name, each in _table(path, summary, "benchmarks").items():
        _require(f"{path}, {name}", each, ("seconds",), numbers=True)
    return summary


def _environment(folder: Path) -> dict[str, Any]:
    path = folder / "environment.json"
    return _object(path, "") if path.exists() else {}


def _commands(folder: Path, folders: Sequence[Path], options: Sequence[str]) -> list[str]:
    """Return the one command of a run, or those of a training and evaluations that were compared by hand."""
    made = dict.fromkeys(_environment(each).get("command") for each in (folder, *folders))
    found = [str(each) for each in made if each]
    if len(found) > 1:
        compared = [*map(os.path.normpath, folders), *options, "--output", str(folder)]
        found.append(shlex.join(["needlework", "compare", *compared]))
    return found if len(found) == 1 else [*found, shlex.join(["needlework", "report", str(folder)])]


def _present(path: Path, command: str) -> Path:
    if not path.exists():
        raise DataError(f"{path.parent} has no {path.name}; run `{command}` first")
    return path


def _text(path: Path, command: str) -> str:
    try:
        return _present(path, command).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}; {_AGAIN}") from None


def _object(path: Path, command: str) -> dict[str, Any]:
    return _parse(path, _text(path, command))


def _parse(where: object, content: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not JSON: {error}; {_AGAIN}") from None
    if not isinstance(value, dict):
        raise DataError(f"{where} should hold a JSON object, not {type(value).__name__}; {_AGAIN}")
    return value


def _require(where: object, value: Any, keys: Iterable[str], *, numbers: bool = False) -> None:
    """Check that a part of a file is an object with these keys, or with finite numbers at them."""
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            raise DataError(f"{where} lacks {key!r}; {_AGAIN}")
        # json reads NaN and infinity, which no chart can show and no browser can parse.
        if numbers and not (isinstance(value[key], int | float) and math.isfinite(value[key])):
            raise DataError(f"{where}: {key} should be a finite number, not {value[key]!r}; {_AGAIN}")
