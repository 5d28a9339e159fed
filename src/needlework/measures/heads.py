"""Retrieval-head scores (Wu et al., arXiv 2404.15574): how often a head looks at what is copied next.

A head copies an answer token if, where that token is predicted, the position it attends to most is in the
needle and holds the same token. Its score is the share of the needle's tokens that it copies. Here the needle
is the accepted answer as it stands in the gold item. Wu et al. let the model generate and count answers that are
right; here the model reads the true answer, so that two models are scored on the same tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel

from needlework.dataset.encoded import encode
from needlework.haystack import Haystack
from needlework.measures import Measurement
from needlework.measures.packed import answer_logits
from needlework.measures.spans import decoded, holding
from needlework.models.chat import Renderer
from needlework.train.collator import collate
from needlework.train.shared_prefix import Layout, packed_attention, shared_prefix_attention

ATTENTION = "needlework_watched_heads"
"""The name under which the attention function is registered."""


class Watched(Layout):
    """A packed row's layout that notes where heads look.

    Args:
        layout: The row's layout.
        rows: Shape [R], rows of the branches that are watched, counted in the packed row.
    """

    def __init__(self, layout: Layout, rows: torch.Tensor) -> None:
        super().__init__(layout.prefix, layout.branches)
        self.rows = rows
        self.tops: dict[int, torch.Tensor] = {}
        """By layer, the position that each head attends to most from each row, shape [heads, R]."""


def watched_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    *others: Any,
    layout: Watched,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as `shared_prefix_attention` does, and note where the heads look from the watched rows."""
    rows = layout.rows.to(query.device)
    seen = layout.branch_mask(sliding_window, query.device)[rows - layout.prefix]
    layout.tops[module.layer_idx] = top_keys(query[0][:, rows], key[0], seen).cpu()
    return shared_prefix_attention(module, query, key, *others, layout=layout, sliding_window=sliding_window, **options)


def top_keys(query: torch.Tensor, key: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return which key each row of each head attends to most, shape [heads, R].

    Scaling, capping and softmax keep the order of the scores, so the largest product is the largest weight.

    Args:
        query: Shape [heads, R, head_dim].
        key: Shape [groups, N, head_dim]; the heads of a group share it.
        seen: Shape [R, N], the keys that each row may see.
    """
    grouped = query.float().unflatten(0, (key.shape[0], -1))
    scores = grouped @ key.float()[:, None].transpose(2, 3)
    tops: torch.Tensor = scores.masked_fill(~seen, -torch.inf).argmax(-1)
    return tops.flatten(0, 1)


def measurements(model: PreTrainedModel, renderer: Renderer, haystacks: Sequence[Haystack]) -> Iterator[Measurement]:
    """Yield the score of every head on each needle, named by layer and head, from 0: `"L12.H3"`.

    Needles whose gold item does not hold an accepted answer that the answer gives word for word are left out.

    Raises:
        ModelError: If packed rows are not exact for this model; says why.
    """
    AttentionInterface.register(ATTENTION, watched_attention)
    with packed_attention(model, ATTENTION):
        for haystack in haystacks:
            row = renderer.pack(haystack)
            inputs = collate(row)
            copied = _copied(haystack, renderer, inputs["labels"].split(row.answers))
            predicting = inputs["logits_to_keep"].split(row.answers)
            rows = [kept[tokens] for kept, (tokens, _) in zip(predicting, copied, strict=True)]
            layout = inputs["layout"] = Watched(inputs["layout"], torch.cat(rows))
            answer_logits(model, inputs)
            tops = torch.stack([layout.tops[layer] for layer in sorted(layout.tops)])
            ids = inputs["input_ids"][0]
            for needle, each, top, (_, sources) in zip(
                haystack.needles, rows, tops.split([len(each) for each in rows], dim=2), copied, strict=True
            ):
                if len(each):
                    # The row that predicts a token stands one before it.
                    hits = torch.isin(top, torch.tensor(sources)) & (ids[top] == ids[each + 1])
                    yield Measurement(needle.id, haystack.id, _named(hits.float().mean(dim=2)))


def _named(scores: torch.Tensor) -> dict[str, float]:
    return {f"L{layer}.H{head}": score for layer, row in enumerate(scores.tolist()) for head, score in enumerate(row)}


def _copied(
    haystack: Haystack, renderer: Renderer, answers: Sequence[torch.Tensor]
) -> list[tuple[list[int], list[int]]]:
    """Return for each needle the tokens of its completion that are copied, and where in the prompt from."""
    found = []
    for needle, encoded, answer in zip(haystack.needles, encode(haystack, renderer), answers, strict=True):
        (start, end) = encoded.gold[0]
        accepted = next((text for text in needle.accepted if text in needle.answer), None)
        gold = _tokens(encoded.input_ids[start:end].tolist(), accepted, renderer)
        # What comes before, such as the key that was asked, may look the same: the last is the value.
        tokens = _tokens(answer.tolist(), accepted, renderer)[-1:]
        sources = [start + index for occurrence in gold for index in occurrence]
        found.append((tokens[0] if tokens and sources else [], sources))
    return found


def _tokens(ids: list[int], accepted: str | None, renderer: Renderer) -> list[list[int]]:
    """Return, for each time that an accepted answer stands in tokens, which of them hold it."""
    if accepted is None or not ids:
        return []
    text, tokens = decoded(ids, renderer.tokenizer)
    places = re.finditer(rf"(?<!\w){re.escape(accepted)}(?!\w)", text)
    return [holding(tokens, place.span()) for place in places]
