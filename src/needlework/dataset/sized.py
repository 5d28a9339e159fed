"""Drafts of numbers with the lengths of their parts, and their rows as token ids: many per numpy call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from needlework.dataset.encoded import IGNORED, Encoded, Span, Tokens
from needlework.dataset.table import Table
from needlework.tasks.draft import NOTHING, Arrangement, Draft, Integers, Pieces


@dataclass(slots=True)
class Sized:
    """A draft with the lengths of its parts."""

    draft: Draft
    table: Table
    rows: Integers
    """The pieces of the contents, [capacity, pieces]."""
    lengths: Integers
    """Tokens of each row of the contents, [capacity]."""
    sums: Integers
    """Tokens of the first n items, including the join after each, [capacity + 1]."""
    arranged: dict[int, tuple[Arrangement, list[tuple[Tokens, int]]]] = field(default_factory=dict)
    """By number of items, the arrangement and the ids after the items: the size that fits is counted, then encoded."""
    shortest: int = 0
    """Fewest ids after the items, whatever the size; known once one size has been counted."""

    def arrange(self, num_items: int) -> tuple[Arrangement, list[tuple[Tokens, int]]]:
        if num_items not in self.arranged:
            arrangement = self.draft.arrange(num_items)
            tails = [self.table.tail(each) for each in arrangement.needles]
            self.arranged[num_items] = arrangement, [(ids, answer) for ids, answer, _ in tails]
            self.shortest = max(shortest for _, _, shortest in tails)
        return self.arranged[num_items]

    def body(self, num_items: int) -> int:
        """Return how many tokens the items have."""
        return int(self.sums[num_items]) - self.table.joined

    def count(self, num_items: int) -> int:
        """Return exactly how many tokens the longest prompt of `num_items` items and its answer have."""
        _, tails = self.arrange(num_items)
        return len(self.table.head) + self.body(num_items) + max([len(ids) for ids, _ in tails])

    def least(self, num_items: int) -> int:
        """Return a lower bound of `count`, based on another size that was counted; 0 if none was."""
        return self.shortest and len(self.table.head) + self.body(num_items) + self.shortest


def look_up(drafts: Sequence[Draft], table: Table) -> list[Sized]:
    """Look up the lengths of drafts of one kind and shape.

    Raises:
        Unsplittable: If a number is too large for a table.
    """
    rows = np.stack([draft.contents.rows for draft in drafts if isinstance(draft.contents, Pieces)])
    count, capacity, _ = rows.shape
    table.cover(max(int(rows.max()), capacity))
    # Same as `sum(-1)`, in a third of the time along such a short axis.
    lengths = np.einsum("ijk->ij", table.lengths.take(rows))
    # Names are 1..n in some order, so the total of their lengths does not depend on it.
    sums = np.zeros((count, capacity + 1), dtype=np.int64)
    (lengths + table.named[1 : capacity + 1]).cumsum(1, out=sums[:, 1:])
    return [Sized(draft, table, *parts) for draft, *parts in zip(drafts, rows, lengths, sums, strict=True)]


def compose(drafts: Sequence[tuple[Sized, int]]) -> Iterator[list[Encoded]]:
    """Yield the rows of haystacks, each made of the first items of a draft; they are views of one array of ids.

    Args:
        drafts: Drafts with the same table and width, and the number of items of each.
    """
    table = drafts[0][0].table
    arranged = [(sized, sized.body(num_items), *sized.arrange(num_items)) for sized, num_items in drafts]
    items, ends = _items([(sized, arrangement) for sized, _, arrangement, _ in arranged])
    parts: list[Tokens] = []
    stop = 0
    for _, body, _, tails in arranged:
        start, stop = stop, stop + body
        for tail, _ in tails:
            parts += table.head, items[start:stop], tail
    ids = np.concatenate(parts)
    labels = np.full(len(ids), IGNORED, dtype=np.int32)
    first = stop = 0
    for _, body, arrangement, tails in arranged:
        rows = []
        for needle, (tail, answer) in zip(arrangement.needles, tails, strict=True):
            start, stop = stop, stop + len(table.head) + body + len(tail)
            labels[stop - answer : stop] = ids[stop - answer : stop]
            gold = _gold(table, ends[first:], needle.position)
            rows.append(Encoded(ids[start:stop], labels[start:stop], (gold,)))
        yield rows
        first += arrangement.num_items


def _items(arranged: Sequence[tuple[Sized, Arrangement]]) -> tuple[Tokens, Integers]:
    """Return the ids of all haystacks' items, and how many tokens the first n items have, including their joins."""
    table, width = arranged[0][0].table, arranged[0][0].rows.shape[1]
    orders = [arrangement.order for _, arrangement in arranged]
    names = np.concatenate([arrangement.names for _, arrangement in arranged if arrangement.names is not None])
    pieces = np.empty((len(names), 1 + width + 1), dtype=np.int64)
    pieces[:, 0], pieces[:, -1] = names, table.join
    rows = [sized.rows.take(order, axis=0) for (sized, _), order in zip(arranged, orders, strict=True)]
    np.concatenate(rows, out=pieces[:, 1:-1])
    # The last item is followed by the question.
    pieces[np.cumsum([len(order) for order in orders]) - 1, -1] = NOTHING
    lengths = [sized.lengths.take(order) for (sized, _), order in zip(arranged, orders, strict=True)]
    ends = np.zeros(len(names) + 1, dtype=np.int64)
    (np.concatenate(lengths) + table.named.take(names)).cumsum(out=ends[1:])
    return table.take(pieces), ends


def _gold(table: Table, ends: Integers, position: int) -> Span:
    """Return the tokens that overlap an item, of which the first and last may belong to a join."""
    if position < 0:
        return 0, 0
    before, start, stop = len(table.head) - int(ends[0]), int(ends[position]), int(ends[position + 1])
    return before + start - table.opens, before + stop + table.closes - table.joined
