"""Measures: numbers read inside a model, where a benchmark reads its answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from needlework.errors import ModelError
from needlework.storage import write_text


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured on one text, prompt or needle."""

    id: str
    group: str
    """Names what belongs together, such as an article: statistics cluster by it."""
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class Measure:
    """How to measure a model."""

    name: str
    title: str
    """What the numbers are, for tables and charts."""
    measurements: Callable[[], Iterator[Measurement]]
    count: int
    """The most that there are: what cannot be measured on a needle is left out."""


def record(measure: Measure, path: Path, update: Callable[[int, int], None]) -> tuple[int, dict[str, float]]:
    """Measure, write the measurements as JSONL, and return how many there are and the mean of each value.

    A file that is there is not measured again: it appears when all is measured.

    Args:
        measure: What to measure.
        path: The file.
        update: Called with the number of measurements made and of all.

    Raises:
        ModelError: If a number is not finite; names the text.
    """
    if not path.exists():
        lines = []
        update(0, measure.count)
        for each in measure.measurements():
            values = {name: round(value, 6) for name, value in each.values.items()}
            if wrong := [name for name, value in values.items() if not isfinite(value)]:
                raise ModelError(
                    f"{measure.name} is {values[wrong[0]]} on {each.id}: the model computes numbers that are not "
                    f"finite. Set model.precision=fp32, or evaluate another checkpoint."
                )
            lines.append(json.dumps(asdict(each) | {"values": values}, ensure_ascii=False) + "\n")
            update(len(lines), measure.count)
        write_text(path, "".join(lines))
    found: dict[str, list[float]] = {}
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    for line in lines:
        for name, value in json.loads(line)["values"].items():
            found.setdefault(name, []).append(value)
    return len(lines), {name: round(float(np.mean(each)), 6) for name, each in found.items()}
