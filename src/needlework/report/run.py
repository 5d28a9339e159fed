"""Reading and checking a finished run, or a comparison of any number of runs, for its report."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needlework.errors import DataError
from needlework.haystack import Prediction
from needlework.report import text
from needlework.report.pairing import Answered, Pair, pair, read_answers
from needlework.report.stored import AGAIN, Comparison, Evaluation, Form, Step, parse, present, read, read_text

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
    summaries = [read(Evaluation, each / "summary.json", "needlework evaluate") for each in folders]
    steps, training = [], {}
    if (folder / "train").is_dir():
        training = read(Form, folder / "train/summary.json", "needlework finetune")
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
        {name: str(part.get("title", name)) for name, part in summaries[0].get("measures", {}).items()},
        _environment(folder),
        _commands(folder, folders, ["--mean"] if mean else []),
        read_text(folder / "recipe.yaml", "") if (folder / "recipe.yaml").exists() else "",
    )


def _comparison(path: Path) -> dict[str, Any]:
    comparison = read(Comparison, path, "needlework compare")
    if not comparison["benchmarks"] and not comparison.get("measures"):
        raise DataError(f"{path} compares no benchmark; evaluate one before and after, then compare again")
    return comparison


def _folders(path: Path, comparison: dict[str, Any], count: int) -> list[str]:
    """Return the folders of the evaluations, from the comparison's own; a run's, where it names none."""
    folders: list[str] = comparison.get("folders") or ["before", "after"]
    if len(folders) != count:
        raise DataError(f"{path}: folders should name the {count} evaluations that were compared; {AGAIN}")
    return folders


def _answers(folders: list[Path], name: str, asked: list[bool]) -> list[Answers]:
    """Read what each run said, and check that those compared with the first were asked the same needles."""

    def said(folder: Path) -> Answered:
        present(folder / f"predictions-{name}.jsonl", "needlework evaluate")
        return read_answers(folder, name)

    first = said(folders[0])
    others = [said(folder) if wanted else None for folder, wanted in zip(folders[1:], asked, strict=True)]
    for other in filter(None, others):
        pair(first, other)
    outputs = [first.predictions, *(other.predictions if other else {} for other in others)]
    return [tuple(side.get(id) for side in outputs) for id in dict.fromkeys(id for side in outputs for id in side)]


def _steps(path: Path) -> list[dict[str, Any]]:
    lines = enumerate(read_text(path, "needlework finetune").splitlines(), start=1)
    return [parse(Step, line, f"{path}, line {number}") for number, line in lines if line.strip()]


def _environment(folder: Path) -> dict[str, Any]:
    path = folder / "environment.json"
    return read(Form, path, "") if path.exists() else {}


def _commands(folder: Path, folders: Sequence[Path], options: Sequence[str]) -> list[str]:
    """Return the one command of a run, or those of a training and evaluations that were compared by hand."""
    made = dict.fromkeys(_environment(each).get("command") for each in (folder, *folders))
    found = [str(each) for each in made if each]
    if len(found) > 1:
        compared = [*map(os.path.normpath, folders), *options, "--output", str(folder)]
        found.append(shlex.join(["needlework", "compare", *compared]))
    return found if len(found) == 1 else [*found, shlex.join(["needlework", "report", str(folder)])]
