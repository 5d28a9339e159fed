"""What a task is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from needlework.haystack import Haystack
from needlework.tasks.draft import Draft


class Task(Protocol):
    """A synthetic family: a frozen dataclass whose fields are its parameters, with their help as docstrings.

    It is a pure function of the generator's state. The first line of its module's docstring is what
    `needlework list tasks` says of it.
    """

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw the contents of `capacity` items, from which haystacks of up to so many can be arranged.

        Drafts of the same generator state and different capacities agree in all rows that both have. Where
        the text of a task ends, its contents do, and arranging more items than they have is a `UserError`.

        Args:
            rng: Source of all randomness.
            capacity: Most items that will be asked for.
            num_needles: Needles asked of each haystack.
            depths: Fixed relative depths (0 first, 1 last) of the needles, instead of random ones.

        Raises:
            UserError: If so many needles do not fit, or the numbers run out.
        """

    def min_items(self, num_needles: int) -> int:
        """Return the fewest items that hold so many needles."""


@runtime_checkable
class DrawsMany(Protocol):
    """A task that draws many drafts in less time than one by one."""

    def drafts(self, rngs: Sequence[np.random.Generator], capacity: int, num_needles: int = 1) -> list[Draft]:
        """Draw what `draft` draws from each of the generators."""


def drafts(task: Task, rngs: Sequence[np.random.Generator], capacity: int, num_needles: int = 1) -> list[Draft]:
    """Draw a draft from each generator, at once where the task can.

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
        UserError: If so many needles do not fit so few items.
    """
    return task.draft(rng, num_items, num_needles, depths=depths).haystack(num_items, id)
