"""Token ids by table, at memory speed: samples of numbers are put together without being tokenized.

This is done only where it is exact. The first samples of each process, and every 4096th, are tokenized as
text too and compared; a tokenizer that joins digits with what stands beside them takes the plain path.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from needlework.dataset.budget import PlainCounter
from needlework.dataset.encoded import IGNORED, Encoded, Span, encode
from needlework.dataset.table import Table, Unsplittable
from needlework.errors import DataError
from needlework.models.chat import Renderer
from needlework.tasks.draft import NOTHING, Arrangement, Draft, Integers, Pieces

FIRST_CHECKED = 16
CHECKED_EVERY = 4096


class Composer:
    """Counts and encodes drafts, by table where that is exact and by tokenizing their text elsewhere.

    Args:
        renderer: The tokenizer and chat template.
    """

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self.refused: set[str] = set()
        """Tasks of numbers that took the plain path, because the tokenizer or the template asks for it."""
        self._plain = PlainCounter(renderer)
        self._tables: dict[Hashable, Table | None] = {}
        self._last: _Sized | None = None

    def sums(self, draft: Draft) -> Integers:
        """Return how many tokens the first n rows of the contents add, [capacity + 1]; exactly, by table."""
        sized = self._sized(draft)
        return sized.sums if sized else self._plain.sums(draft)

    def count(self, draft: Draft, num_items: int) -> int:
        """Return exactly how many tokens the longest prompt of `num_items` items and its answer have."""
        if sized := self._sized(draft):
            try:
                return sized.count(num_items)
            except Unsplittable:
                # The items can be composed, but what is asked of them cannot.
                self._refuse(draft)
        return self._plain.count(draft, num_items)

    def encode(self, draft: Draft, num_items: int) -> list[Encoded]:
        """Return the rows of the haystack of `num_items` items, which were counted."""
        sized = self._sized(draft)
        return sized.encode(num_items) if sized else encode(draft.haystack(num_items, ""), self.renderer)

    def check(self, draft: Draft, num_items: int, index: int) -> bool:
        """Compare sample `index` with the tokenization of its text, if it is one of those to be compared.

        Returns:
            Whether the sample stands. If not, this kind of draft takes the plain path from now on; all
            samples before this one were compared.

        Raises:
            DataError: If it differs after others were trusted.
        """
        sized = self._sized(draft)
        if sized is None:
            return True
        sized.table.uses += 1
        if sized.table.uses > FIRST_CHECKED and index % CHECKED_EVERY:
            return True
        if _same(sized.encode(num_items), encode(draft.haystack(num_items, ""), self.renderer)):
            return True
        if sized.table.uses > FIRST_CHECKED:
            raise DataError(
                f"sample {index} of {draft.task} is tokenized in another way than the {sized.table.uses - 1} before "
                f"it let expect. Please report the tokenizer; until then, use another."
            )
        self._refuse(draft)
        return False

    def _sized(self, draft: Draft) -> _Sized | None:
        if self._last is not None and self._last.draft is draft:
            return self._last
        kind = _kind(draft)
        try:
            if kind not in self._tables:
                self._tables[kind] = Table(draft, self.renderer)
            table = self._tables[kind]
            self._last = _Sized.of(draft, table) if table else None
        except Unsplittable:
            self._refuse(draft)
        return self._last if self._last is not None and self._last.draft is draft else None

    def _refuse(self, draft: Draft) -> None:
        self._tables[_kind(draft)], self._last = None, None
        if isinstance(draft.contents, Pieces):
            self.refused.add(draft.task)


def _kind(draft: Draft) -> Hashable:
    fragments = draft.contents.fragments if isinstance(draft.contents, Pieces) else None
    return draft.preamble, draft.opening, draft.closing, fragments


def _same(composed: list[Encoded], plain: list[Encoded]) -> bool:
    return all(
        np.array_equal(one.input_ids, other.input_ids)
        and np.array_equal(one.labels, other.labels)
        and one.gold == other.gold
        for one, other in zip(composed, plain, strict=True)
    )


@dataclass(slots=True)
class _Sized:
    """A draft with the lengths of its parts."""

    draft: Draft
    table: Table
    lengths: Integers
    """Tokens of each row of the contents, [capacity]."""
    sums: Integers
    """Tokens of the first n items and the join behind each, [capacity + 1]."""
    arranged: dict[int, tuple[Arrangement, list[tuple[list[int], int]]]] = field(default_factory=dict)
    """Arrangements and the ids behind the items that were asked for: the size that fits is counted, then encoded."""

    @classmethod
    def of(cls, draft: Draft, table: Table) -> _Sized:
        """Look the lengths up.

        Raises:
            Unsplittable: If a number is too large for a table.
        """
        assert isinstance(draft.contents, Pieces)
        rows = draft.contents.rows
        table.cover(max(int(rows.max()), len(rows)))
        lengths = table.lengths.take(rows).sum(1)
        # Names are 1 .. n in some order, so what they add up to does not depend on it.
        sums = np.zeros(len(rows) + 1, dtype=np.int64)
        (lengths + table.named[1 : len(rows) + 1]).cumsum(out=sums[1:])
        return cls(draft, table, lengths, sums)

    def arrange(self, num_items: int) -> tuple[Arrangement, list[tuple[list[int], int]]]:
        if num_items not in self.arranged:
            arrangement = self.draft.arrange(num_items)
            self.arranged[num_items] = arrangement, [self.table.tail(each) for each in arrangement.needles]
        return self.arranged[num_items]

    def count(self, num_items: int) -> int:
        _, tails = self.arrange(num_items)
        body = int(self.sums[num_items] - self.table.lengths[self.table.join])
        return len(self.table.head) + body + max(len(ids) for ids, _ in tails)

    def encode(self, num_items: int) -> list[Encoded]:
        table, (arrangement, tails) = self.table, self.arrange(num_items)
        assert isinstance(self.draft.contents, Pieces)
        assert arrangement.names is not None
        rows, order, names = self.draft.contents.rows, arrangement.order, arrangement.names
        pieces = np.empty((num_items, rows.shape[1] + 2), dtype=np.int64)
        pieces[:, 0], pieces[:, 1:-1], pieces[:, -1] = names, rows.take(order, axis=0), table.join
        # Behind the last item comes the question.
        pieces[-1, -1] = NOTHING
        items = table.take(pieces)
        ends = (self.lengths.take(order) + table.named.take(names)).cumsum()
        encoded = []
        for needle, (tail, answer) in zip(arrangement.needles, tails, strict=True):
            input_ids = np.concatenate((table.head, items, np.array(tail, dtype=np.int32)))
            labels = np.full(len(input_ids), IGNORED, dtype=np.int32)
            labels[-answer:] = input_ids[-answer:]
            encoded.append(Encoded(input_ids, labels, (self._gold(ends, needle.position),)))
        return encoded

    def _gold(self, ends: Integers, position: int) -> Span:
        """Return the tokens that hold any of an item, whose first and last may be of a join."""
        if position < 0:
            return 0, 0
        table, head = self.table, len(self.table.head)
        start = head + (int(ends[position - 1]) if position else 0) - table.opens
        return start, head + int(ends[position]) + table.closes - int(table.lengths[table.join])
