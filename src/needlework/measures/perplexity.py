"""Loss per token on ordinary prose: what a finetune on needles should leave as it was.

Each text is a window of a given number of tokens, which begins with a paragraph and goes on with the next ones.
Perplexity is exp(mean loss); the loss itself is what is compared, because its differences add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from needlework.corpus import Passage
from needlework.errors import UserError
from needlework.measures import Measurement

BLOCK = 512
"""Tokens of one forward: the logits of a long text at once would be larger than the model."""


@dataclass(frozen=True, slots=True)
class Text:
    """A window of prose."""

    id: str
    group: str
    """The article."""
    ids: tuple[int, ...]
    """As the tokenizer writes a text's beginning, with a beginning-of-sequence token where it has one."""


def windows(
    passages: Sequence[Passage], tokenizer: PreTrainedTokenizerBase, *, lengths: Sequence[int], texts: int, seed: int
) -> list[Text]:
    """Draw `texts` windows of each length; windows of one length do not overlap.

    Args:
        passages: Paragraphs, those of one title in their order.
        tokenizer: The model's.
        lengths: Tokens of a window.
        texts: Windows of each length.
        seed: Chooses where they begin.

    Raises:
        UserError: If there is too little text, or all of it has one title, so that nothing can be said of others.
    """
    drawn = []
    for length in lengths:
        taken: set[int] = set()
        found: list[Text] = []
        for start in np.random.default_rng([seed, length]).permutation(len(passages)).tolist():
            if len(found) == texts:
                break
            if window := _window(passages, tokenizer, start, length, taken):
                used, ids = window
                taken |= used
                # Another tokenizer counts in other tokens: what it measures is not the same text.
                found.append(Text(f"{length}/{start}/{_checksum(ids)}", passages[start].title, ids))
        if len(found) < texts:
            raise UserError(
                f"perplexity finds {len(found)} windows of {length} tokens in the text, fewer than the {texts} asked "
                f"for. Ask for fewer or shorter texts, or give more text."
            )
        if len({each.group for each in found}) < 2:
            raise UserError(
                f"the {texts} windows of {length} tokens are all of {found[0].group!r}, and one title says nothing "
                f"about others. Give the text in several files, or ask for more texts."
            )
        drawn += found
    return drawn


def _checksum(ids: Sequence[int]) -> str:
    return f"{crc32(np.array(ids, dtype=np.int64).tobytes()):08x}"


def _window(
    passages: Sequence[Passage], tokenizer: PreTrainedTokenizerBase, start: int, length: int, taken: set[int]
) -> tuple[set[int], tuple[int, ...]] | None:
    """Return the passages used from `start` on and their first `length` ids; None if the article has not as many."""
    text = ""
    for index in range(start, len(passages)):
        if index in taken or passages[index].title != passages[start].title:
            return None
        text += ("\n\n" if text else "") + passages[index].text
        ids = tokenizer(text)["input_ids"]
        if len(ids) >= length:
            return set(range(start, index + 1)), tuple(ids[:length])
    return None


def measurements(model: PreTrainedModel, texts: Sequence[Text]) -> Iterator[Measurement]:
    """Yield the mean loss per token of each text, in nats, the first token aside, which nothing predicts."""
    for text in texts:
        yield Measurement(text.id, text.group, {f"{len(text.ids)} tokens": float(losses(model, text.ids).mean())})


@torch.inference_mode()
def losses(model: PreTrainedModel, ids: Sequence[int]) -> torch.Tensor:
    """Return the loss of each token after the first, in nats, shape [len(ids) - 1]."""
    tokens = torch.tensor(ids, device=model.device)
    found, cache = [], None
    for block, targets in zip(tokens[:-1].split(BLOCK), tokens[1:].split(BLOCK), strict=True):
        output = model(input_ids=block[None], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        found.append(cross_entropy(output.logits[0].float(), targets, reduction="none"))
    return torch.cat(found)
