"""What a task is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from needlework.haystack import Haystack
from needlework.tasks.draft import Draft


class Task(Protocol):
    """A kind of synthetic task: a frozen dataclass whose fields are its parameters, with their help as docstrings.

    It is a pure function of the generator's state. The first line of its module's docstring is its summary in
    `needlework list tasks`.
    """

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw the contents of `capacity` items, from which haystacks of up to that many can be arranged.

        Drafts from the same generator state with different capacities agree in the rows they share. If a task's
        text runs out, the contents are shorter, and arranging more items than they have is a `UserError`.

        Args:
            rng: Source of all randomness.
            capacity: Most items that will be asked for.
            num_needles: Needles in each haystack.
            depths: Fixed relative depths (0 first, 1 last) of the needles, instead of random ones.

        Raises:
            UserError: If the needles do not fit, or the numbers run out.
        """

    def min_items(self, num_needles: int) -> int:
        """Return the fewest items that can hold the needles."""


@runtime_checkable
class DrawsMany(Protocol):
    """A task that draws many drafts together, faster than one by one."""

    def drafts(self, rngs: Sequence[np.random.Generator], capacity: int, num_needles: int = 1) -> list[Draft]:
        """Draw from each of the generators what `draft` would."""


def drafts(task: Task, rngs: Sequence[np.random.Generator], capacity: int, num_needles: int = 1) -> list[Draft]:
    """Draw a draft from each generator, all together if the task can.

    Raises:
        UserError: As `Task.draft` does.
    """
    if isinstance(task, DrawsMany):
        return task.drafts(rngs, capacity, num_needles)
    return [task.draft(rng, capacity, num_needles) for rng in rngs]


def make(
    task: Task,
    rng: np.random.Generator,
    num_items: int,
    num_needles: int = 1,
    *,
    id: str = "0",
    depths: Sequence[float] | None = None,
) -> Haystack:
    """Make one haystack of a given number of items.

    Raises:
        UserError: If there are too few items for the needles.
    """
    return task.draft(rng, num_items, num_needles, depths=depths).haystack(num_items, id)
