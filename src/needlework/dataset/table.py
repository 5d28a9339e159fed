"""The token ids of the pieces that haystacks of numbers are made of.

A haystack of numbers is a few fixed strings with numbers between them. If a tokenizer never merges a digit with
a neighbouring character, the ids of the whole are the ids of its pieces in sequence: each number and each string
is tokenized once, in context, and a sample is composed by indexing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from needlework.dataset.encoded import Tokens
from needlework.models.chat import Renderer
from needlework.tasks.draft import Asked, Draft, Integers, Parts, Pieces

LARGEST = 10**6
"""Tables hold the numbers below this one."""

BATCH = 10**4
"""Numbers that are tokenized together."""

PADDING = -1

TOKEN = np.dtype(np.int32).itemsize
"""Bytes per id."""

Form = tuple[object, ...]
"""The strings of a question and an answer, with None in place of each number and SEAM between the two."""

SEAM = object()


class Unsplittable(Exception):
    """The tokenizer merges a number with its surroundings, or the template cannot be split."""


class Table:
    """The token ids of all pieces of one kind of draft.

    Args:
        draft: Any draft of the kind: all share preamble, opening, closing and fragments.
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
        """Samples that were composed from it."""
        self.closing = draft.closing
        self._forms: dict[Form, tuple[list[bytes], int, int, int]] = {}
        """The ids between the numbers, how many numbers the question has, how many ids the completion has apart from
        numbers, and the fewest ids after the items, with one for each number."""
        preamble = f"{draft.preamble}\n\n" if draft.preamble else ""
        self.head = np.array(self._ids("", before + preamble + draft.opening, "1"), dtype=np.int32)
        # Items are joined by a newline, which a tokenizer may well merge with the bracket before it.
        join = f"{draft.closing}\n{draft.opening}"
        seam = len(draft.closing), len(draft.closing) + 1
        self.closes, self.opens = self._overlap(join, 0, seam[0]), self._overlap(join, seam[1], len(join))
        """Tokens of the join that overlap the item before it, and the one after it."""
        self._fragments = (*draft.contents.fragments, join)
        self.join = -1 - len(self._fragments)
        self._shortest = min(self._fragments, key=len)
        self.numbers: list[bytes] = []
        """The ids of each number, indexed by the number, as the bytes of an array: short ones are joined faster."""
        self._fill(BATCH)

    def cover(self, number: int) -> None:
        """Make sure that the table holds all numbers up to this one.

        Raises:
            Unsplittable: If there are too many.
        """
        if number >= len(self.numbers):
            if number >= LARGEST:
                raise Unsplittable
            self._fill(10 ** len(str(number)))

    def _fill(self, count: int) -> None:
        left = right = self._shortest
        # In batches: a million numbers at once would take gigabytes.
        for start in range(len(self.numbers), count, BATCH):
            texts = [f"{left}{number}{right}" for number in range(start, min(count, start + BATCH))]
            numbers = self._cut(texts, [(len(left), len(text) - len(right)) for text in texts])
            self.numbers += map(_packed, numbers)
        fragments = [self._ids("1", fragment, "1") for fragment in reversed(self._fragments)]
        # Negative pieces index these from the end: nothing, then the fragments.
        ids = [*self.numbers, *map(_packed, fragments), b""]
        self.lengths = np.array([len(each) for each in ids]) // TOKEN
        self.joined = int(self.lengths[self.join])
        """Tokens of the join."""
        self.named = self.lengths + self.joined
        """Tokens of each number as an item's name, including the join after the item."""
        self._padded = np.full((len(ids), self.lengths.max()), PADDING, dtype=np.int32)
        self._padded[np.arange(self.lengths.max()) < self.lengths[:, None]] = _unpacked(ids)

    def take(self, pieces: Integers) -> Tokens:
        """Return the ids of a sequence of pieces."""
        padded = self._padded.take(pieces.ravel(), axis=0).ravel()
        ids: Tokens = padded.compress(padded != PADDING)
        return ids

    def tail(self, needle: Asked) -> tuple[Tokens, int, int]:
        """Return the ids after the last number of the items, how many at their end are the completion, and the fewest
        ids that other numbers could give.

        Raises:
            Unsplittable: If a number is too large for a table.
        """
        parts = (*needle.question, SEAM, *needle.answer)
        # This runs for every sample, so classes are compared: `isinstance` is slower.
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
        """Return the ids of the strings between the numbers, where `left` precedes the first one."""
        ids: list[list[int]] = [[]]
        last = len(parts) - 1
        for index, part in enumerate(parts):
            if isinstance(part, int):
                ids.append([])
            else:
                # The digit represents any number, on either side.
                ids[-1] = self._ids("1" if index else left, part, "1" if index < last else "")
        return ids

    def _overlap(self, text: str, start: int, stop: int) -> int:
        """Return how many tokens of a text between two numbers overlap these characters."""
        encoding = self.renderer.tokenizer(f"1{text}1", add_special_tokens=False, return_offsets_mapping=True)
        return sum(begin < stop + 1 and end > start + 1 for begin, end in encoding["offset_mapping"])

    def _ids(self, left: str, text: str, right: str) -> list[int]:
        """Return the ids of a text between two others."""
        (ids,) = self._cut([left + text + right], [(len(left), len(left) + len(text))])
        return ids

    def _cut(self, texts: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[list[int]]:
        """Return the ids of the tokens that lie in each text's span of characters."""
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
    """Merge neighbouring strings."""
    joined: list[str | int] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined
