"""How far a finetuned model has moved from its base: KL(base || finetuned), per token.

The base model answers each prompt greedily. Both models then read that answer, and at each of its tokens the
exact divergence of their next-token distributions is taken over the whole vocabulary. On the new task's prompts
it is the quantity that tracks forgetting in arXiv 2509.04259, KL(base || finetuned) over what the base model
says there; on ordinary prompts it is what a user of the model notices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from transformers import PreTrainedModel

from needlework.corpus import Passage
from needlework.errors import ModelError, UserError
from needlework.haystack import Haystack, Needle
from needlework.inference.backend import Ask, Backend
from needlework.measures import Measurement
from needlework.measures.packed import answer_logits
from needlework.models.chat import Renderer
from needlework.train.collator import collate
from needlework.train.shared_prefix import packed_attention

ROWS = 64
"""Tokens whose distributions are compared at once: they are as wide as the vocabulary."""


def questions(passages: Sequence[Passage], *, prompts: int, seed: int) -> list[Haystack]:
    """Draw ordinary prompts: questions asked without their passage, one of each.

    Returns:
        Haystacks without items, of one needle each, their id the passage's title, by which they cluster.

    Raises:
        UserError: If there are too few passages with questions, or they all have one title.
    """
    asked = [each for each in passages if each.questions]
    chosen = np.random.default_rng(seed).permutation(len(asked))[:prompts].tolist()
    if len(chosen) < prompts or len({asked[index].title for index in chosen}) < 2:
        raise UserError(
            f"drift finds {len(asked)} passages with questions, of {len({each.title for each in asked})} titles, and "
            f"needs {prompts} of at least 2. Lower prompts, or give more questions."
        )
    made = []
    for index in chosen:
        passage, id = asked[index], f"chat/{index}"
        question = passage.questions[int(np.random.default_rng([seed, index]).integers(len(passage.questions)))]
        needle = Needle(id, passage.title, question.text, question.accepted[0], question.accepted, -1)
        made.append(Haystack(passage.title, "chat", "", (), (needle,)))
    return made


def unmoved(haystacks: Mapping[str, Sequence[Haystack]]) -> Iterator[Measurement]:
    """Yield the divergence of a model from itself, which is 0."""
    for kind, each in haystacks.items():
        for haystack in each:
            for needle in haystack.needles:
                yield Measurement(needle.id, haystack.id, {kind: 0.0})


def measurements(
    model: PreTrainedModel,
    base: PreTrainedModel,
    backend: Backend,
    renderer: Renderer,
    haystacks: Mapping[str, Sequence[Haystack]],
    *,
    max_new_tokens: int,
) -> Iterator[Measurement]:
    """Yield the mean divergence per token of the base model's answer to each needle, in nats.

    Args:
        model: The finetuned model.
        base: The model it was made from.
        backend: Answers with `base`.
        renderer: The tokenizer and chat template of `model`.
        haystacks: The prompts, by the name under which their divergence is given.
        max_new_tokens: Longest answer.

    Raises:
        ModelError: If packed rows are not exact for these models, or their vocabularies differ; says which.
    """
    if (ours := model.config.get_text_config().vocab_size) != (theirs := base.config.get_text_config().vocab_size):
        raise ModelError(f"the model has {ours} tokens and its base {theirs}: they are not of one family.")
    for kind, each in haystacks.items():
        answered = _answered(backend, each, max_new_tokens)
        with packed_attention(model), packed_attention(base):
            for haystack in answered:
                row = renderer.pack(haystack)
                pair = (answer_logits(one, collate(row)) for one in (base, model))
                found = divergence(*pair).split(row.answers)
                for needle, tokens in zip(haystack.needles, found, strict=True):
                    yield Measurement(needle.id, haystack.id, {kind: float(tokens.mean())})


def divergence(base: torch.Tensor, tuned: torch.Tensor) -> torch.Tensor:
    """Return KL(base || tuned) of next-token distributions from their logits, [N, vocabulary], in nats, [N]."""
    found = []
    for ours, theirs in zip(base.split(ROWS), tuned.split(ROWS), strict=True):
        before, after = ours.float().log_softmax(-1), theirs.float().log_softmax(-1)
        found.append((before.exp() * (before - after)).sum(-1).cpu())
    return torch.cat(found)


def _answered(backend: Backend, haystacks: Sequence[Haystack], max_new_tokens: int) -> list[Haystack]:
    """Return the haystacks with what the backend says in place of each true answer."""
    asks = [Ask(haystack, needle) for haystack in haystacks for needle in haystack.needles]
    said: dict[int, str] = {}
    for batch in backend.batches(asks, max_new_tokens=max_new_tokens):
        answers = backend.answer([asks[index] for index in batch], max_new_tokens=max_new_tokens, stop=None)
        said |= {index: answer.output for index, answer in zip(batch, answers, strict=True)}
    outputs = iter(said[index] for index in range(len(asks)))
    return [
        replace(each, needles=tuple(replace(needle, answer=next(outputs)) for needle in each.needles))
        for each in haystacks
    ]
