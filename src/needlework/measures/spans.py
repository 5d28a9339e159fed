"""Which tokens hold which characters, for any tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
"""The first character, and the one after the last."""


def decoded(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> tuple[str, list[Span]]:
    """Return the text of tokens, and the characters that each of them adds to it.

    Found by decoding longer and longer beginnings, which works for tokenizers without offsets, too.
    """
    # Cleaning up spaces would move the characters after them.
    texts = [
        str(tokenizer.decode(list(ids[:count]), clean_up_tokenization_spaces=False)) for count in range(len(ids) + 1)
    ]
    return texts[-1], [(len(before), len(after)) for before, after in pairwise(texts)]


def holding(tokens: Sequence[Span], span: Span) -> list[int]:
    """Return the indices of the tokens that hold any character of a span."""
    return [index for index, (start, end) in enumerate(tokens) if start < span[1] and end > span[0]]
