"""The token ids of the pieces that number haystacks are made of.

A haystack of numbers is a few fixed strings with numbers between them. Where a tokenizer never joins a
digit with what stands beside it, the ids of the whole are those of its pieces in a row: each number and
each string is tokenized once, in place, and a sample is put together by indexing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from needlework.dataset.encoded import Tokens
from needlework.models.chat import Renderer
from needlework.tasks.draft import Asked, Draft, Integers, Parts, Pieces

LARGEST = 10**6
"""Tables hold the numbers below."""

BATCH = 10**4
"""Numbers that are tokenized together."""

PADDING = -1

TOKEN = np.dtype(np.int32).itemsize
"""Bytes of an id."""

Form = tuple[object, ...]
"""The strings of a question and an answer, with None where their numbers are and SEAM between the two."""

SEAM = object()


class Unsplittable(Exception):
    """The tokenizer joins a number with its surroundings, or the template is not one that can be cut."""


class Table:
    """The token ids of all pieces of one kind of draft.

    Args:
        draft: Any draft of the kind: they share preamble, opening, closing and fragments.
        renderer: The tokenizer and chat template.

    Raises:
        Unsplittable: If a token holds both a digit and something else.
    """

    def __init__(self, draft: Draft, renderer: Renderer) -> None:
        if not isinstance(draft.contents, Pieces) or not renderer.tokenizer.is_fast or renderer.conversation:
            raise Unsplittable
        self.renderer = renderer
        probe = draft.haystack(len(draft.contents), "")
        needle = probe.needles[0]
        before, prompt_found, self.middle = renderer.prompt(probe, needle).partition(probe.message(needle))
        self.start, answer_found, self.end = renderer.completion(probe, needle).partition(needle.answer)
        if not prompt_found or not answer_found:
            raise Unsplittable
        self.uses = 0
        """Samples that were put together with it."""
        self.closing = draft.closing
        self._forms: dict[Form, tuple[list[bytes], int, int, int]] = {}
        """The ids between the numbers, how many numbers the question has, how many ids the completion has besides
        numbers, and how many there are behind the items at least: each number has one."""
        preamble = f"{draft.preamble}\n\n" if draft.preamble else ""
        self.head = np.array(self._ids("", before + preamble + draft.opening, "1"), dtype=np.int32)
        # Items are joined by a newline; a tokenizer may well join that with the bracket before it.
        join = f"{draft.closing}\n{draft.opening}"
        seam = len(draft.closing), len(draft.closing) + 1
        self.closes, self.opens = self._overlap(join, 0, seam[0]), self._overlap(join, seam[1], len(join))
        """Tokens of the join that hold any of the item before it, and of the one behind it."""
        self._fragments = (*draft.contents.fragments, join)
        self.join = -1 - len(self._fragments)
        self._shortest = min(self._fragments, key=len)
        self.numbers: list[bytes] = []
        """The ids of each number, by the number, as the memory of an array has them: short ones are joined faster."""
        self._fill(BATCH)

    def cover(self, number: int) -> None:
        """Make sure that all numbers up to this one are in the table.

        Raises:
            Unsplittable: If there are too many.
        """
        if number >= len(self.numbers):
            if number >= LARGEST:
                raise Unsplittable
            self._fill(10 ** len(str(number)))

    def _fill(self, count: int) -> None:
        left = right = self._shortest
        # Not all at once, which a million would take gigabytes for.
        for start in range(len(self.numbers), count, BATCH):
            texts = [f"{left}{number}{right}" for number in range(start, min(count, start + BATCH))]
            numbers = self._cut(texts, [(len(left), len(text) - len(right)) for text in texts])
            self.numbers += map(_packed, numbers)
        fragments = [self._ids("1", fragment, "1") for fragment in reversed(self._fragments)]
        # Pieces below 0 index these from behind: nothing, then the fragments.
        ids = [*self.numbers, *map(_packed, fragments), b""]
        self.lengths = np.array([len(each) for each in ids]) // TOKEN
        self.joined = int(self.lengths[self.join])
        """Tokens of the join."""
        self.named = self.lengths + self.joined
        """Of each number as an item's name, with the join behind the item."""
        self._padded = np.full((len(ids), self.lengths.max()), PADDING, dtype=np.int32)
        self._padded[np.arange(self.lengths.max()) < self.lengths[:, None]] = _unpacked(ids)

    def take(self, pieces: Integers) -> Tokens:
        """Return the ids of pieces in a row."""
        padded = self._padded.take(pieces.ravel(), axis=0).ravel()
        ids: Tokens = padded.compress(padded != PADDING)
        return ids

    def tail(self, needle: Asked) -> tuple[Tokens, int, int]:
        """Return the ids behind the last number of the items, how many at their end are the completion, and the fewest
        ids that there would be with other numbers.

        Raises:
            Unsplittable: If a number is too large for a table.
        """
        parts = (*needle.question, SEAM, *needle.answer)
        # For every sample, so classes are compared: `isinstance` takes longer.
        numbers = [part for part in parts if part.__class__ is int]
        form = tuple([None if part.__class__ is int else part for part in parts])
        if form not in self._forms:
            self._forms[form] = self._learn(needle)
        self.cover(max(numbers, default=0))
        fixed, asked, answer, shortest = self._forms[form]
        filled = [self.numbers[number] for number in numbers]
        ids = [*fixed, *filled]
        ids[::2], ids[1::2] = fixed, filled
        return _unpacked(ids), answer + sum(map(len, filled[asked:])) // TOKEN, shortest

    def _learn(self, needle: Asked) -> tuple[list[bytes], int, int, int]:
        prompt = _coalesce((f"{self.closing}\n\n", *needle.question, self.middle))
        completion = _coalesce((self.start, *needle.answer, self.end))
        asked, answered = self._form("1", prompt), self._form(str(prompt[-1]), completion)
        fixed = [*asked[:-1], asked[-1] + answered[0], *answered[1:]]
        shortest = sum(map(len, fixed)) + len(fixed) - 1
        return [*map(_packed, fixed)], len(asked) - 1, sum(map(len, answered)), shortest

    def _form(self, left: str, parts: Sequence[str | int]) -> list[list[int]]:
        """Return the ids of the strings between the numbers, behind a string or a digit."""
        ids: list[list[int]] = [[]]
        last = len(parts) - 1
        for index, part in enumerate(parts):
            if isinstance(part, int):
                ids.append([])
            else:
                # A digit stands for any number, on either side.
                ids[-1] = self._ids("1" if index else left, part, "1" if index < last else "")
        return ids

    def _overlap(self, text: str, start: int, stop: int) -> int:
        """Return how many tokens of a text between two numbers hold any of these characters."""
        encoding = self.renderer.tokenizer(f"1{text}1", add_special_tokens=False, return_offsets_mapping=True)
        return sum(begin < stop + 1 and end > start + 1 for begin, end in encoding["offset_mapping"])

    def _ids(self, left: str, text: str, right: str) -> list[int]:
        """Return the ids that a text has between two others."""
        (ids,) = self._cut([left + text + right], [(len(left), len(left) + len(text))])
        return ids

    def _cut(self, texts: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[list[int]]:
        """Return the ids of the tokens of each text that lie in its span of characters."""
        encoding = self.renderer.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
        cut = []
        for ids, offsets, (start, stop) in zip(encoding["input_ids"], encoding["offset_mapping"], spans, strict=True):
            if any(begin < seam < end for begin, end in offsets for seam in (start, stop)):
                raise Unsplittable
            cut.append([id for id, (begin, end) in zip(ids, offsets, strict=True) if start <= begin and end <= stop])
        return cut


def _packed(ids: Sequence[int]) -> bytes:
    return np.array(ids, dtype=np.int32).tobytes()


def _unpacked(parts: Iterable[bytes]) -> Tokens:
    return np.frombuffer(b"".join(parts), dtype=np.int32)


def _coalesce(parts: Parts) -> list[str | int]:
    """Join neighbouring strings."""
    joined: list[str | int] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined
