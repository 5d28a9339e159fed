"""Needles in a haystack of prose: a number in a sentence, one or several, at several lengths and depths.

The prose is that of the embedded evaluation half, which shares no article with what the task `niah` trains on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from needlework.benchmark_settings import NIAH
from needlework.benchmarks import Benchmark, Fit
from needlework.benchmarks.scoring import numbers
from needlework.corpus import squad
from needlework.haystack import Haystack, Needle
from needlework.tasks.draft import Draft
from needlework.tasks.niah import Sentence, cut, draft_prose

STREAM = 7_310_261
"""Lockers and codes are not those of training, whatever the seeds."""

TITLES: dict[str, dict[str, str]] = {
    "single": {"code": "Needle in prose"},
    "multi_needle": {"code": "One of several needles in prose"},
    "multi_value": {"code": "Each of several values in prose", "all": "All of several values in prose"},
}

MEANINGS = {"code": "the first number, other than the locker's, is a code of it", "all": "all its codes are given"}


def build(settings: NIAH, *, seed: int, fit: Fit) -> Benchmark:
    """Build haystacks of each length, with a needle at every depth.

    Args:
        settings: See `NIAH`. A single needle is moved to each depth of the same prose. A length holds prompt and
            longest answer, with the chat template.
        seed: Seed of the benchmark.
        fit: Finds how many sentences fit.

    Raises:
        BudgetError: If a length is too small.
        UserError: If a length is larger than the text.
    """
    kind, depths = settings.kind, settings.depths
    together = [(depth,) for depth in depths] if kind == "single" else [depths]
    made: list[Haystack] = []
    places: dict[str, str] = {}
    for length in settings.lengths:
        for number in range(settings.haystacks):
            draws = [partial(_draft, kind, each, (seed, STREAM, length, number)) for each in together]
            # Where the needle stands may change a token; all depths have the same prose.
            drafts, num_items = fit(draws, length, len(together[0]))
            for draft, each in zip(drafts, together, strict=True):
                name = f"niah/{length}/{number}"
                haystack = draft.haystack(num_items, f"{name}/{each[0]:.0%}" if kind == "single" else name)
                if kind == "single":
                    haystack = replace(haystack, needles=(replace(haystack.needles[0], group=name),))
                haystack.meta["length"] = length
                made.append(haystack)
                places |= {needle.id: f"{depth:.0%}" for needle, depth in zip(haystack.needles, each, strict=True)}
    # A code and what stands before it takes up to eight tokens.
    tokens = 32 + 8 * len(together[0])
    return Benchmark(
        "niah",
        made,
        score_all if kind == "multi_value" else score,
        TITLES[kind],
        tokens,
        places=places,
        meanings=MEANINGS,
    )


def score(needle: Needle, output: str) -> dict[str, bool]:
    """Score the first number that is not the locker's: an output that lists all codes finds none by accident."""
    (locker,) = numbers(needle.question)
    others = [number for number in numbers(output) if number != locker]
    return {"code": others[:1] == list(needle.accepted)}


def score_all(needle: Needle, output: str) -> dict[str, bool]:
    """Score the code of the needle's depth, and whether all codes of the locker are named; others do no harm."""
    named = set(numbers(output))
    return {
        "code": needle.accepted[0] in named,
        "all": set(numbers(needle.answer)) <= named | {*numbers(needle.question)},
    }


def _draft(kind: str, depths: Sequence[float], seed: Sequence[int], capacity: int) -> Draft:
    # The same draws at each depth and each capacity.
    rng = np.random.default_rng(seed)
    return draft_prose(_text(), rng, capacity, len(depths), depths, one_locker=kind == "multi_value")


@lru_cache
def _text() -> tuple[Sentence, ...]:
    return cut(squad("eval"))
