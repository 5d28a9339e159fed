"""The user's own haystacks: a file, read whole, checked line by line, and cut into rows of limited size.

A haystack with more needles than a row may hold becomes several rows with the same context. Files are often sorted by
length or source, so the rows are shuffled: once, from the seed, so that each epoch has the same order and resumed
training continues where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np

from needlework.corpus import squad
from needlework.errors import DataError
from needlework.haystack import Haystack, read_named
from needlework.models.chat import Renderer


@dataclass(frozen=True, slots=True)
class Row:
    """A haystack with the needles that are trained on together."""

    line: int
    """Its line number in the file, from 1."""
    first: int
    """How many needles of the same line are in earlier rows."""
    haystack: Haystack


def read_rows(path: Path, max_needles: int, seed: int) -> list[Row]:
    """Read a file of haystacks as rows of at most `max_needles` needles, shuffled.

    Raises:
        DataError: If the file cannot be read or is empty, a line is malformed, an id occurs twice, or a haystack
            contains embedded evaluation text; names the line.
    """
    rows: list[Row] = []
    for line, haystack in read_named(path):
        _check_not_evaluated(path, line, haystack)
        # Parts of equal size, rather than full ones and a small remainder.
        parts = -(-len(haystack.needles) // max_needles)
        cuts = [len(haystack.needles) * part // parts for part in range(parts + 1)]
        rows += [Row(line, low, replace(haystack, needles=haystack.needles[low:high])) for low, high in pairwise(cuts)]
    if not rows:
        raise DataError(f"{path} holds no haystacks: it is empty.")
    return [rows[index] for index in np.random.default_rng(seed).permutation(len(rows)).tolist()]


def hold_out(rows: Sequence[Row], needles: int) -> tuple[list[Row], list[Row]]:
    """Divide rows into those to train on and others with at least `needles` needles; no text is in both.

    Raises:
        DataError: If that leaves nothing to train on.
    """
    texts: Counter[str | int] = Counter()
    for row in rows:
        texts[_text(row)] += len(row.haystack.needles)
    held: set[str | int] = set()
    for text in reversed(texts):
        if sum(texts[each] for each in held) >= needles:
            break
        held.add(text)
    if len(held) == len(texts):
        raise DataError(
            f"train.check holds out {needles:,} needles with their texts, and would leave none of the file's "
            f"{texts.total():,} needles in {len(texts):,} texts to train on. Lower train.check.needles."
        )
    divided: tuple[list[Row], list[Row]] = [], []
    for row in rows:
        divided[_text(row) in held].append(row)
    return divided


def _text(row: Row) -> str | int:
    """Return what tells a text from others: where the questions hold all of it, the line."""
    return row.haystack.context or row.line


def _check_not_evaluated(path: Path, line: int, haystack: Haystack) -> None:
    texts = {"preamble": haystack.preamble, **{f"items[{index}]": item for index, item in enumerate(haystack.items)}}
    texts |= {f"needles[{index}].question": needle.question for index, needle in enumerate(haystack.needles)}
    for place, text in texts.items():
        # Haystacks converted from chats may have an instruction above the paragraph, or the question below it.
        if found := _evaluated().intersection(" ".join(part.split()) for part in (text, *text.splitlines())):
            raise DataError(
                f"{path}, line {line}: {place} holds a paragraph of the embedded evaluation text "
                f"({min(found)[:40]!r}). Remove it: a model trained on it cannot be evaluated on it."
            )


@lru_cache
def _evaluated() -> frozenset[str]:
    return frozenset(passage.text for passage in squad("eval"))


@dataclass
class OwnDataset(Sequence[Haystack]):
    """The rows of a file of haystacks, shuffled. Each is a haystack itself.

    Args:
        path: The file (see docs/own-data.md).
        max_needles: Most needles in a row.
        max_tokens: Upper bound of prompt and longest answer, counted exactly.
        renderer: The tokenizer and chat template that tokens are counted with.
        seed: Seed for shuffling the rows.

    Raises:
        DataError: As `read_rows` does.
    """

    path: Path
    max_needles: int
    max_tokens: int
    renderer: Renderer
    seed: int = 0

    def __post_init__(self) -> None:
        self.rows: list[Row] = read_rows(self.path, self.max_needles, self.seed)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Haystack: ...
    @overload
    def __getitem__(self, index: slice) -> list[Haystack]: ...
    def __getitem__(self, index: int | slice) -> Haystack | list[Haystack]:
        """Return a row, or a list of those in a slice."""
        if isinstance(index, slice):
            return [row.haystack for row in self.rows[index]]
        return self.rows[index].haystack

    def hold_out(self, needles: int) -> tuple[OwnDataset, OwnDataset]:
        """Return the rows to train on, and others with at least `needles` needles; no text is in both.

        Raises:
            DataError: If that leaves nothing to train on.
        """
        trained, held = copy(self), copy(self)
        trained.rows, held.rows = hold_out(self.rows, needles)
        return trained, held

    def __str__(self) -> str:
        needles = sum(len(row.haystack.needles) for row in self.rows)
        haystacks = len({row.line for row in self.rows})
        return f"{haystacks:,} haystacks of {self.path} with {needles:,} needles, in {len(self):,} rows"

    def place(self, index: int) -> str:
        """Return where in the file row `index` comes from."""
        row = self.rows[index]
        last = row.first + len(row.haystack.needles)
        return f"line {row.line} of {self.path.name}, needles {row.first + 1} to {last}"

    def largest(self) -> Haystack:
        """Return the row with the most tokens.

        Raises:
            DataError: If a row does not fit `max_tokens`, or its questions share no prefix; names its line.
        """
        sizes, lengths = zip(*map(self._count, self.rows), strict=True)
        longest = max(range(len(self)), key=lengths.__getitem__)
        if lengths[longest] > self.max_tokens:
            long = sorted({self.rows[index].line for index, each in enumerate(lengths) if each > self.max_tokens})
            raise DataError(
                f"{self.path}, line {self.rows[longest].line}: prompt and answer have {lengths[longest]:,} tokens, but "
                f"data.max_tokens is {self.max_tokens:,}; {_too_long(long)}. Raise data.max_tokens, at most to the "
                f"model's context, or shorten the text."
            )
        return self[max(range(len(self)), key=sizes.__getitem__)]

    def _count(self, row: Row) -> tuple[int, int]:
        """Return the tokens of a packed row, and those of its longest prompt with the answer."""
        packed = self.renderer.pack(row.haystack)
        if not packed.prefix:
            raise DataError(
                f"{self.path}, line {row.line}: there is nothing that its questions share. Give the text they are "
                f"about as items, or each question a line of its own."
            )
        branches = list(map(len, packed.branches))
        return len(packed.prefix) + sum(branches), len(packed.prefix) + max(branches)


def _too_long(lines: Sequence[int]) -> str:
    if len(lines) == 1:
        return "all other lines fit"
    shown = ", ".join(map(str, lines[:5])) + (", …" if len(lines) > 5 else "")
    return f"it is the longest of {len(lines):,} lines that do not fit ({shown})"
