"""Where the gold items of a haystack go, for tasks whose needles each have items of their own."""

from __future__ import annotations

from collections.abc import Sequence

from needlework.errors import UserError
from needlework.tasks.dictionaries import Floats, at_depths, scatter


def check(task: str, capacity: int, num_needles: int, min_items: int, depths: Sequence[float] | None) -> None:
    """Reject what no draft can hold.

    Raises:
        UserError: If there is no needle, not exactly one depth per needle, or no room for the gold items.
    """
    if num_needles < 1:
        raise UserError(f"{task} needs at least 1 needle, not {num_needles}.")
    if capacity < min_items:
        raise UserError(
            f"{num_needles} needles of {task} need {min_items} items, more than the {capacity} of the haystack. "
            f"Ask for fewer needles, or more items."
        )
    check_depths(depths, num_needles)


def check_depths(depths: Sequence[float] | None, count: int, what: str = "needles") -> None:
    """Reject depths that are not one for each gold item, or not from 0 to 1.

    Args:
        depths: The depths, or None for random places.
        count: How many gold items there are.
        what: What to call them in a message.

    Raises:
        UserError: If there are more or fewer, or one is outside of the haystack.
    """
    if depths is None:
        return
    if len(depths) != count:
        raise UserError(f"{count} {what} were given {len(depths)} depths. Give each of them one.")
    if outside := [depth for depth in depths if not 0 <= depth <= 1]:
        raise UserError(f"a depth is {outside[0]}: give one from 0, the first item, to 1, the last.")


def place(draws: Floats, num_items: int, depths: Sequence[float] | None) -> list[int]:
    """Return a distinct place for each gold item: the first ones at the depths, the others at random.

    Args:
        draws: Draws from [0, 1), one for each gold item.
        num_items: Items of the haystack.
        depths: Relative depths (0 first, 1 last) of the first gold items.

    Raises:
        UserError: If there are more gold items than items.
    """
    fixed = at_depths(depths or (), num_items)
    free = [at for at in range(num_items) if at not in fixed]
    return [*fixed, *(free[index] for index in scatter(draws[len(fixed) :].tolist(), len(free)))]
