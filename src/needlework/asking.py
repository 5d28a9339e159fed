"""The benchmarks of a recipe, made for a model: how long its haystacks are, its tokenizer says."""

from __future__ import annotations

from collections.abc import Callable

from needlework.benchmarks import Benchmark, knowledge, kv, mdqa
from needlework.dataset.budget import Budget
from needlework.dataset.composer import Composer
from needlework.models.chat import Renderer
from needlework.recipe import Evaluate
from needlework.tasks.draft import Draft


def build(chosen: Evaluate, seed: int, renderer: Renderer) -> list[Benchmark]:
    """Build the benchmarks that a recipe asks for, in the order in which they are asked.

    Raises:
        BudgetError: If a length is too small for the task.
    """
    counter = Composer(renderer)

    def fit(draw: Callable[[int], Draft], max_tokens: int, num_needles: int) -> tuple[Draft, int]:
        return Budget(max_tokens, counter).fit(draw, min_items=num_needles, num_needles=num_needles)

    built = []
    if chosen.kv:
        built.append(kv.build(**chosen.kv.model_dump(), seed=seed, fit=fit))
    if chosen.knowledge:
        built.append(knowledge.build(**chosen.knowledge.model_dump(), seed=seed))
    if chosen.mdqa:
        built.append(mdqa.build(**chosen.mdqa.model_dump(), seed=seed))
    return built
