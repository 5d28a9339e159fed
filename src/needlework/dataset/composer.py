"""Token ids from tables, at memory speed: samples made of numbers are composed without tokenizing them.

This happens only where it is exact. The first samples of each process, and every 4096th, are also tokenized as
text and compared; a tokenizer that merges digits with their neighbours takes the plain path.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from itertools import groupby

import numpy as np

from needlework.dataset.budget import PlainCounter
from needlework.dataset.encoded import Encoded, encode
from needlework.dataset.sized import Sized, compose, look_up
from needlework.dataset.table import Table, Unsplittable
from needlework.errors import DataError
from needlework.models.chat import Renderer
from needlework.tasks.draft import Draft, Integers, Pieces

FIRST_CHECKED = 16
CHECKED_EVERY = 4096


class Composer:
    """Counts and encodes drafts, from tables where that is exact and by tokenizing their text otherwise.

    Args:
        renderer: The tokenizer and chat template.
    """

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self.refused: set[str] = set()
        """Tasks of numbers that take the plain path because of the tokenizer or the chat template."""
        self._plain = PlainCounter(renderer)
        self._tables: dict[Hashable, Table | None] = {}
        self._known: dict[int, tuple[Draft, Sized | None]] = {}
        """By the identity of each draft of the last batch; None where it takes the plain path."""

    def prepare(self, drafts: Iterable[Draft]) -> None:
        """Look up the lengths of drafts that will be counted and encoded, all at once: one by one is slower."""
        self._known = {id(draft): (draft, None) for draft in drafts}
        alike: dict[Hashable, list[Draft]] = {}
        for draft, _ in self._known.values():
            shape = draft.contents.rows.shape if isinstance(draft.contents, Pieces) else None
            alike.setdefault((_kind(draft), shape), []).append(draft)
        for some in alike.values():
            if table := self._table(some[0]):
                try:
                    self._known |= {id(each.draft): (each.draft, each) for each in look_up(some, table)}
                except Unsplittable:
                    self._refuse(some[0])

    def sums(self, draft: Draft) -> Integers:
        """Return how many tokens the first n rows of the contents add, [capacity + 1]; exact if read from a table."""
        sized = self._sized(draft)
        return sized.sums if sized else self._plain.sums(draft)

    def count(self, draft: Draft, num_items: int) -> int:
        """Return exactly how many tokens the longest prompt of `num_items` items and its answer have."""
        if sized := self._sized(draft):
            try:
                return sized.count(num_items)
            except Unsplittable:
                # The items can be composed, but the questions and answers cannot.
                self._refuse(draft)
        return self._plain.count(draft, num_items)

    def least(self, draft: Draft, num_items: int) -> int:
        """Return a lower bound of `count`; 0 if none is known without counting."""
        sized = self._sized(draft)
        return sized.least(num_items) if sized else 0

    def encode(self, drafts: Iterable[tuple[Draft, int]]) -> Iterator[list[Encoded]]:
        """Yield the rows of each haystack, given as a draft that was counted and its number of items."""
        sized = ((self._sized(draft), draft, num_items) for draft, num_items in drafts)
        for alike, some in groupby(sized, key=lambda each: each[0] and (each[0].table, each[0].rows.shape[1])):
            if alike:
                yield from compose([(each, num_items) for each, _, num_items in some if each])
            else:
                yield from (encode(draft.haystack(num_items, ""), self.renderer) for _, draft, num_items in some)

    def check(self, draft: Draft, num_items: int, index: int) -> bool:
        """Compare sample `index` with the tokenization of its text, if it is due for a check.

        Returns:
            Whether the sample is right. If not, this kind of draft takes the plain path from now on; all samples
            before this one were compared.

        Raises:
            DataError: If it differs after other samples were trusted without a comparison.
        """
        sized = self._sized(draft)
        if sized is None:
            return True
        sized.table.uses += 1
        if sized.table.uses > FIRST_CHECKED and index % CHECKED_EVERY:
            return True
        (composed,) = compose([(sized, num_items)])
        if _same(composed, encode(draft.haystack(num_items, ""), self.renderer)):
            return True
        if sized.table.uses > FIRST_CHECKED:
            raise DataError(
                f"sample {index} of {draft.task} is tokenized differently from what the {sized.table.uses - 1} samples "
                f"before it suggested. Please report this tokenizer; until it is fixed, use another."
            )
        self._refuse(draft)
        return False

    def _sized(self, draft: Draft) -> Sized | None:
        if id(draft) not in self._known:
            self.prepare([draft])
        return self._known[id(draft)][1]

    def _table(self, draft: Draft) -> Table | None:
        kind = _kind(draft)
        if kind not in self._tables:
            try:
                self._tables[kind] = Table(draft, self.renderer)
            except Unsplittable:
                self._refuse(draft)
        return self._tables[kind]

    def _refuse(self, draft: Draft) -> None:
        kind = _kind(draft)
        self._tables[kind] = None
        self._known = {id(each): (each, None if _kind(each) == kind else sized) for each, sized in self._known.values()}
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
