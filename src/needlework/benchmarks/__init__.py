"""Benchmarks: sequences of haystacks with a scoring rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from needlework.haystack import Haystack, Needle
from needlework.tasks.draft import Draft

Score = Callable[[Needle, str], dict[str, bool]]
"""From a needle and a model's output to scores by name, the one that counts first."""

Draw = Callable[[int], Draft]
"""Draws a draft with the given number of items."""

Fit = Callable[[Sequence[Draw], int, int], tuple[list[Draft], int]]
"""Finds how many items fit in each of some drafts: `(draws, max_tokens, num_needles) -> (drafts, number)`."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Haystacks to ask, and how an answer is scored."""

    name: str
    haystacks: Sequence[Haystack]
    score: Score
    titles: dict[str, str]
    """What each score is called in tables and charts."""
    max_new_tokens: int
    stop: str | None = None
    """Generation may end where this appears, because scoring reads no further."""
    places: dict[str, str] | None = None
    """The tabulated gold position of each needle by id, where positions are compared."""
    meanings: dict[str, str] = field(default_factory=dict)
    """What counts as a hit of each score, as the end of a sentence."""
