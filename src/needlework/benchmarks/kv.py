"""Key-value retrieval: the task that was trained on, at several lengths and depths."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from needlework.benchmarks import Benchmark
from needlework.haystack import Haystack, Needle
from needlework.tasks import make_task
from needlework.tasks.draft import Draft

# The whole answer takes 26 tokens where every digit is one.
MAX_NEW_TOKENS = 32
# Evaluation haystacks must not be those of training, whatever the seeds.
STREAM = 7_310_259

Fit = Callable[[Callable[[int], Draft], int, int], tuple[Draft, int]]


def build(
    *, lengths: Sequence[int], depths: Sequence[float], haystacks: int, template: bool, seed: int, fit: Fit
) -> Benchmark:
    """Build simple-dictionary haystacks of each length, each asked once at every depth.

    Args:
        lengths: Token budgets: prompt and longest answer, with the chat template.
        depths: Relative gold positions, 0 the first dictionary and 1 the last.
        haystacks: Haystacks for each length.
        template: Whether the question shows the answer's form.
        seed: Seed of the benchmark.
        fit: Finds how many items fit: `(draw, max_tokens, num_needles) -> (draft, number of items)`.

    Raises:
        BudgetError: If a length is too small for the task.
    """
    task = make_task("simple_dict", {"template": template})
    made: list[Haystack] = []
    places: dict[str, str] = {}
    for length in lengths:
        for number in range(haystacks):

            def draw(capacity: int, length: int = length, number: int = number) -> Draft:
                rng = np.random.default_rng([seed, STREAM, length, number])
                return task.draft(rng, capacity, len(depths), depths=depths)

            draft, num_items = fit(draw, length, len(depths))
            haystack = draft.haystack(num_items, f"kv/{length}/{number}")
            haystack.meta["length"] = length
            made.append(haystack)
            places |= {needle.id: f"{depth:.0%}" for needle, depth in zip(haystack.needles, depths, strict=True)}
    titles = {"value": "Key-value retrieval", "whole": "Key-value, whole answer"}
    return Benchmark("kv", made, score, titles, MAX_NEW_TOKENS, places=places)


def score(needle: Needle, output: str) -> dict[str, bool]:
    """Score the value, and the value with its dictionary, by the first numbers after the key.

    The first number that is not the key itself counts as the value, the next as the dictionary: an
    output that lists a whole dictionary does not find the value by accident.
    """
    key, value, name = re.findall(r"\d+", needle.answer)
    numbers = re.findall(r"\d+", output)
    while numbers and numbers[0] == key:
        numbers.pop(0)
    return {"value": numbers[:1] == [value], "whole": numbers[:2] == [value, name]}
