"""What became of each needle from the first run to another: kept, lost, gained or missed both times."""

from __future__ import annotations

from collections.abc import Sequence

from needlework.report.pairing import Pair


def examples(pairs: Sequence[Pair], *, found: bool, most: int = 3) -> list[Pair]:
    """Return up to `most` pairs that turned from missed to hit (`found`) or back, evenly spread."""
    changed = [pair for pair in pairs if pair.after.hit is found and pair.before.hit is not found]
    count = min(most, len(changed))
    return [changed[(2 * i + 1) * len(changed) // (2 * count)] for i in range(count)]


def fates(pairs: Sequence[Pair], score: str) -> dict[str, int]:
    """Return how many questions were answered before and after, lost, gained, and never.

    Args:
        pairs: The paired predictions.
        score: The further score to count by, such as "exact"; an empty string for the main one.
    """
    names = {
        (True, True): "answered both times",
        (True, False): "lost",
        (False, True): "gained",
        (False, False): "missed both times",
    }
    counts = dict.fromkeys(names.values(), 0)
    for pair in pairs:
        before, after = (p.extra.get(score, False) if score else p.hit for p in (pair.before, pair.after))
        counts[names[before, after]] += 1
    return counts
