"""Haystacks of dictionaries read back from their text, by other code than wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from needlework.haystack import Haystack
from needlework.tasks import make_task
from needlework.tasks.protocol import make

ABOVE = "Above is a list of dictionaries such that each key and value is an integer. "


def dictionaries(haystack: Haystack) -> dict[int, dict[int, int]]:
    """Return the pairs of each dictionary by its name, in order."""
    found = _read(haystack.items)
    assert list(found) == list(range(1, len(haystack.items) + 1))
    return found


@lru_cache(maxsize=1)
def _read(items: tuple[str, ...]) -> dict[int, dict[int, int]]:
    found: dict[int, dict[int, int]] = {}
    for item in items:
        match = re.fullmatch(r"Dictionary \[(\d+)\] \{(\d+: \d+(?:, \d+: \d+)*)\}", item)
        assert match
        keys, values = [], []
        for pair in match[2].split(", "):
            key, value = pair.split(": ")
            keys.append(int(key))
            values.append(int(value))
        assert len(set(keys)) == len(keys)
        found[int(match[1])] = dict(zip(keys, values, strict=True))
    return found


def holders(haystack: Haystack, key: int) -> dict[int, int]:
    """Return the value of a key by the name of each dictionary that holds it, in order."""
    return {name: pairs[key] for name, pairs in dictionaries(haystack).items() if key in pairs}


def asked(question: str, pattern: str) -> list[int]:
    """Return the numbers that stand in a question where its pattern says `N`."""
    match = re.fullmatch(re.escape(ABOVE + pattern).replace("N", r"(\d+)"), question)
    assert match, question
    return [int(number) for number in match.groups()]


def many(name: str, count: int = 300, **params: object) -> Iterator[Haystack]:
    """Make haystacks of 1 to 8 needles, from the fewest dictionaries to 60 more."""
    task = make_task(name, params)
    for seed in range(count):
        rng = np.random.default_rng([seed, 1])
        num_needles = int(rng.integers(1, 9))
        num_items = task.min_items(num_needles) + int(rng.integers(61)) * (seed % 4 > 0)
        yield make(task, np.random.default_rng(seed), num_items, num_needles)


def is_near(number: int, key: int) -> bool:
    """Return whether a number differs from a key in one digit, or has its digits in another order."""
    first, second = str(number), str(key)
    differences = sum(a != b for a, b in zip(first, second, strict=False))
    return len(first) == len(second) and number != key and (differences == 1 or sorted(first) == sorted(second))
