"""A mixture of tasks with weights: each haystack comes from one of them.

Trains against what finetuning on a single format causes: the model learns that format's surface (its
template, its digits) instead of the search that all formats share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np

from needlework.errors import RecipeError
from needlework.tasks.draft import Draft
from needlework.tasks.protocol import Task


@dataclass(frozen=True)
class Mixture:
    """The parameters of the task.

    Raises:
        RecipeError: If a part is not a task, or its weight or parameters are invalid.
    """

    parts: dict[str, Any] = field(default_factory=lambda: {"simple_dict": 1, "records": 1})
    """Each task's weight by name, or `{weight: 1, params: {…}}` to set its parameters."""

    def __post_init__(self) -> None:
        # Mistakes are reported when the task is made, not at the first sample.
        _ = self._weighted

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw this haystack's task in proportion to the weights, then let it draft."""
        tasks, weights = self._weighted
        chosen = rng.choice(len(tasks), p=weights / weights.sum())
        return tasks[chosen].draft(rng, capacity, num_needles, depths=depths)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest items that can hold the needles, whichever task is drawn."""
        return max(task.min_items(num_needles) for task in self._weighted[0])

    @cached_property
    def _weighted(self) -> tuple[list[Task], np.ndarray[tuple[int], np.dtype[np.float64]]]:
        parts = [_part(name, given) for name, given in self.parts.items()]
        # A task that is never drawn must not raise the minimum.
        drawn = [(task, weight) for task, weight in parts if weight > 0]
        if not drawn:
            raise RecipeError(f"task mixture: none of its {len(parts)} parts has a weight above 0.")
        return [task for task, _ in drawn], np.array([weight for _, weight in drawn])


def _part(name: str, given: object) -> tuple[Task, float]:
    # The registry contains this task too, so it does not exist yet when this module is imported.
    from needlework.tasks import make_task

    settings = cast("Mapping[str, Any]", given if isinstance(given, Mapping) else {"weight": given})
    if unknown := [key for key in settings if key not in ("weight", "params")]:
        raise RecipeError(f"task mixture: part {name} has no key {unknown[0]!r}; its keys are weight and params.")
    weight, params = settings.get("weight", 1), settings.get("params") or {}
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
        raise RecipeError(f"task mixture: the weight of {name} is {weight!r}. Give a number, 0 or above.")
    if not isinstance(params, Mapping):
        raise RecipeError(f"task mixture: params of {name} is {params!r}. Give names and values.")
    return make_task(name, params), float(weight)
