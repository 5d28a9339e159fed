"""What prompts share: batches of those that share most, and the prefix tree of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from needlework.models.chat import common_length

WORTH = 64
"""Tokens that a span has to save. With fewer, one more span to attend to costs more than it saves."""

CHUNK = 4096
"""Tokens that go through the model at once."""


@dataclass(frozen=True, slots=True)
class Span:
    """A node of the tree: the tokens `start` to `stop` of the prompts `first` to `last`, the same in all of them.

    The last token of a prompt lies in a span of that prompt alone, because its output is the answer's first token.
    """

    first: int
    last: int
    start: int
    stop: int
    depth: int

    @property
    def tokens(self) -> int:
        return self.stop - self.start

    def holds(self, other: Span) -> bool:
        """Return whether another span, further down, is of some of the same prompts."""
        return self.first <= other.first < self.last


def spans(prompts: Sequence[list[int]]) -> list[Span]:
    """Return the prefix tree of sorted prompts, each span after the one that it continues."""
    return list(_spans(prompts, 0, len(prompts), 0, 0))


def batches(prompts: Sequence[list[int]], *, most: int, tokens: int, answer: int) -> list[range]:
    """Cut sorted prompts into batches, where they share least with the next.

    Args:
        prompts: The prompts.
        most: Prompts in a batch.
        tokens: Tokens in a batch, shared ones counted once; a prompt that alone has more is a batch by itself.
        answer: Tokens to count for each answer.

    Returns:
        The indices of each batch.
    """
    if not prompts:
        return []
    shared = [0, *(common_length(pair) for pair in pairwise(prompts))]
    adds = [len(prompt) - same + answer for prompt, same in zip(prompts, shared, strict=True)]
    cuts = [0]
    for last in range(len(prompts)):
        while last > (begin := cuts[-1]) and (
            last - begin == most or shared[begin] + sum(adds[begin : last + 1]) > tokens
        ):
            places = range(begin + 1, last + 1)
            least = min(shared[place] for place in places)
            cuts.append(max(place for place in places if shared[place] < least + WORTH))
    return [range(*pair) for pair in pairwise([*cuts, len(prompts)])]


def packs(tree: Sequence[Span]) -> Iterator[list[Span]]:
    """Yield spans to compute together, up to `CHUNK` tokens, in order of their prompts: all before them is done."""
    for _, level in groupby(sorted(tree, key=lambda span: (span.depth, span.first)), key=lambda span: span.depth):
        pack: list[Span] = []
        for span in level:
            if pack and sum(each.tokens for each in pack) + span.tokens > CHUNK:
                yield pack
                pack = []
            pack.append(span)
        yield pack


def _spans(prompts: Sequence[list[int]], first: int, last: int, start: int, depth: int) -> Iterator[Span]:
    """Yield the spans of the prompts `first` to `last` from `start` on, up to where all that precedes is shared."""
    if last - first == 1:
        yield from _chain(first, last, start, len(prompts[first]), depth)
        return
    shared = min(common_length([prompts[first], prompts[last - 1]]), len(prompts[first]) - 1)
    if (shared - start) * (last - first - 1) >= WORTH:
        chain = list(_chain(first, last, start, shared, depth))
        yield from chain
        start, depth = shared, depth + len(chain)
    while first < last and len(prompts[first]) == shared + 1:
        # Nothing of it is left to share. Such prompts come first in their order.
        yield from _spans(prompts, first, first + 1, start, depth)
        first += 1
    for _, group in groupby(range(first, last), key=lambda index: prompts[index][shared]):
        members = list(group)
        yield from _spans(prompts, members[0], members[-1] + 1, start, depth)


def _chain(first: int, last: int, start: int, stop: int, depth: int) -> Iterator[Span]:
    for number, begin in enumerate(range(start, stop, CHUNK)):
        yield Span(first, last, begin, min(begin + CHUNK, stop), depth + number)
