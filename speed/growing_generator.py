"""A peer: a copy of the official generator as labs extend it to longer contexts, re-implemented from its behaviour.

It starts from the official 85 dictionaries and adds one at a time, and each time it writes and tokenizes the whole
prompt to see whether the budget is full: its work grows with the square of the length. The gold dictionary stays
among the first 85 places, however many dictionaries follow.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from speed import official_generator as official


def generate(
    count: int, seed: int, tokenizer: PreTrainedTokenizerBase, *, min_tokens: int, max_tokens: int, num_dicts: int = 85
) -> Iterator[dict[str, Any]]:
    """Yield rows of chat messages whose prompts have at least `min_tokens` tokens.

    Args:
        count: Rows.
        seed: Seed of all rows.
        tokenizer: Counts the prompt on its own, without chat template.
        min_tokens: Dictionaries are added until the prompt has so many.
        max_tokens: The sample is drawn anew where it then has fewer than 100 to this.
        num_dicts: Dictionaries to start from.

    Raises:
        ValueError: If a thousand samples in a row did not fit.
    """
    rng = random.Random(seed)
    for place in official.gold_places(rng, np.random.RandomState(seed), count, num_dicts):
        yield official.row(_fitting(rng, tokenizer, num_dicts, min_tokens, max_tokens), place, tokenizer)


def _fitting(
    rng: random.Random, tokenizer: PreTrainedTokenizerBase, num_dicts: int, min_tokens: int, max_tokens: int
) -> official.Sample:
    for _ in range(official.ATTEMPTS):
        sample = official.draw_sample(rng, num_dicts)
        while (tokens := _tokens(sample, tokenizer)) < min_tokens:
            sample.others.append(official.draw_dictionary(rng, sample.key, sample.value))
        if tokens < max_tokens - official.ROOM:
            return sample
    raise ValueError(f"{official.ATTEMPTS} samples did not fall between {min_tokens} and {max_tokens} tokens")


def _tokens(sample: official.Sample, tokenizer: PreTrainedTokenizerBase) -> int:
    return official.count_tokens(tokenizer, official.prompt([sample.gold, *sample.others], sample.key, template=True))
