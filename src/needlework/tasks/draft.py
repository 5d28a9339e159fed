"""A haystack whose size is still open: its contents are drawn once, then any number of items can be arranged.

Token budgets need many sizes of the same haystack. Here all of them share one draw, in which row r does not
depend on how many rows were drawn; the gold items come first, so that every prefix contains them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needlework.haystack import Haystack, Needle

Integers = npt.NDArray[np.int64]

Parts = tuple[str | int, ...]
"""A text as numbers and the strings between them, so that it can be tokenized from a table (see `Pieces`)."""

NOTHING = -1
"""The piece that pads short rows of `Pieces`."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """Items made of numbers and fixed strings, one row of pieces per item.

    A piece n >= 0 is the number n; -1 is nothing; -2 is `fragments[0]`, -3 is `fragments[1]` and so on, so
    that pieces directly index a table of strings or of token ids.
    """

    rows: Integers
    """Shape [rows, pieces of the longest], from the piece after the item's name to its last number."""
    fragments: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)


class Asked(NamedTuple):
    """A needle of an arrangement."""

    question: Parts
    answer: Parts
    accepted: tuple[str, ...]
    position: int
    """The place of its gold item, from 0; -1 where no item holds the answer."""


class Arrangement(NamedTuple):
    """Where the gold rows go, and what is asked."""

    num_items: int
    places: Sequence[int]
    """The places of rows 0, 1, … of the contents; the other rows fill the places between them, in order."""
    needles: tuple[Asked, ...]
    names: Integers | None = None
    """Shape [items]: the number of each item, where items are numbered."""

    @property
    def order(self) -> Integers:
        """The row of the contents at each place, shape [items]."""
        rows = np.arange(self.num_items)
        # Gold rows come first, so the row at any other place is that place plus the number of gold rows after it.
        for place in self.places:
            rows[:place] += 1
        for row, place in enumerate(self.places):
            rows[place] = row
        return rows


@dataclass(frozen=True, slots=True)
class Draft:
    """The contents of a haystack, and how n of its rows are arranged.

    The text of an item is opening + name + content + closing, without a name if items have none. The ends of a JSON
    object differ: `first` replaces the opening of the first item, and `last` the closing of the last.
    """

    task: str
    preamble: str
    contents: Pieces | Sequence[str]
    arrange: Callable[[int], Arrangement]
    """From a number of items n to an arrangement of rows 0 .. n - 1, the same at each call.

    Of contents that are `Pieces`, what is asked differs from one n to another in its numbers alone.
    """
    opening: str = ""
    closing: str = ""
    first: str | None = None
    last: str | None = None
    unordered: bool = False
    """Whether rows other than the gold ones may swap places, to fill a budget better."""

    def exchange(self, row: int, other: int) -> Draft:
        """Return the draft with two rows of text swapped."""
        assert not isinstance(self.contents, Pieces)
        contents = list(self.contents)
        contents[row], contents[other] = contents[other], contents[row]
        return replace(self, contents=contents)

    def haystack(self, num_items: int, id: str) -> Haystack:
        """Return the haystack of the first `num_items` rows; its needles are named `id/0`, `id/1`, …"""
        arrangement = self.arrange(num_items)
        needles = []
        for number, each in enumerate(arrangement.needles):
            name, question, answer = f"{id}/{number}", text(each.question), text(each.answer)
            needles.append(Needle(name, name, question, answer, each.accepted, each.position))
        items = tuple(self._items(arrangement))
        return Haystack(id, self.task, self.preamble, items, tuple(needles))

    def _items(self, arrangement: Arrangement) -> list[str]:
        order = arrangement.order
        if isinstance(self.contents, Pieces):
            strings = _strings(self.contents.fragments)
            rows = [
                "".join([strings[piece] if piece < 0 else str(piece) for piece in row])
                for row in self.contents.rows[order].tolist()
            ]
        else:
            rows = [self.contents[row] for row in order.tolist()]
        names = [""] * len(rows) if arrangement.names is None else arrangement.names.tolist()
        items = [f"{self.opening}{name}{row}{self.closing}" for name, row in zip(names, rows, strict=True)]
        if self.first is not None:
            items[0] = self.first + items[0].removeprefix(self.opening)
        if self.last is not None:
            items[-1] = items[-1].removesuffix(self.closing) + self.last
        return items


def text(parts: Parts) -> str:
    """Return parts as text."""
    return "".join(map(str, parts))


@lru_cache
def _strings(fragments: tuple[str, ...]) -> tuple[str, ...]:
    """Return the strings of the negative pieces, to be indexed by them."""
    return (*reversed(fragments), "")
