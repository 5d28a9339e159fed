"""How lm-evaluation-harness scores our benchmarks: the function that the files of `needlework tasks-dir` name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from needlework import benchmarks
from needlework.benchmarks import Score
from needlework.haystack import Needle, from_json


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, bool]:
    """Score an output as the benchmark itself does.

    Args:
        doc: A row that `needlework.harness.export` wrote: the needle, and the name of the function that scores it.
        results: The output.
    """
    return score_of(doc["score"])(from_json(Needle, doc["needle"]), results[0])


def name_of(score: Score) -> str:
    """Return the name of a scoring function, by which `score_of` finds it."""
    return f"{score.__module__}.{score.__qualname__}"


def score_of(name: str) -> Score:
    """Return a scoring function of our benchmarks.

    Raises:
        ValueError: If the name is of anything else: it comes out of a file.
    """
    module, _, function = name.rpartition(".")
    if not module.startswith(f"{benchmarks.__name__}.") or not function.startswith("score"):
        raise ValueError(f"{name!r} is not a scoring function of a benchmark")
    score: Score = getattr(import_module(module), function)
    return score
