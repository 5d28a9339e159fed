"""Keys and values of a batch's prefix tree, and what its tokens attend to.

    queries                  keys: the spans before     keys: own
    tokens of a span         all (window by position)   causal
    next tokens of answers   all (window by position)   the prompt's tail and the answer so far

The tokens of a forward lie one after another in one row, in the order of the prompts, so that those that continue a
span are neighbours and attend to it together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from needlework.inference.attention import NOWHERE, Places, Rule, attend, merge
from needlework.inference.prefixes import Span
from needlework.models.fused import fused_attention

TAIL = 256
"""Longest end of a prompt that is kept beside its answer, padded to the longest of the batch."""


@dataclass(slots=True, eq=False)
class Held:
    """A span, and of each layer its keys and values together, [2, 1, heads, tokens, head_dim]."""

    span: Span
    states: list[torch.Tensor] = field(default_factory=list)

    def places(self) -> Places:
        return Places(torch.arange(self.span.start, self.span.stop)[None])


class _Past:
    """Tokens of a forward, and a span that they all continue."""

    def __init__(self, held: Held, rows: slice, at: torch.Tensor) -> None:
        self.held = held
        self.rows = rows
        self.queries, self.keys = Places(at[:, rows]), held.places()

    def merge(self, output: torch.Tensor, lse: torch.Tensor, query: torch.Tensor, layer: int, rule: Rule) -> None:
        keys, values = self.held.states[layer]
        part = attend(query[:, :, self.rows], keys, values, rule, self.queries, self.keys)
        merge(output[:, :, self.rows], lse[:, :, self.rows], *part)


class Prefill:
    """A forward of the tokens of some spans.

    Args:
        pack: The spans, none of which continues another.
        before: The spans computed so far.
        prompts: The prompts, sorted.
    """

    def __init__(self, pack: Sequence[Span], before: Sequence[Held], prompts: Sequence[list[int]]) -> None:
        self.held = [Held(span) for span in pack]
        """The spans, with their keys and values once the forward is done."""
        self.ids = [token for span in pack for token in prompts[span.first][span.start : span.stop]]
        self.positions = torch.cat([each.places().at for each in self.held], dim=1)
        """Shape [1, tokens]."""
        self._own, end = [], 0
        for span in pack:
            self._own.append((slice(end, end + span.tokens), Places(self.positions[:, end : end + span.tokens])))
            end += span.tokens
        self._past = []
        for held in before:
            on = [rows for span, (rows, _) in zip(pack, self._own, strict=True) if held.span.holds(span)]
            if on:
                self._past.append(_Past(held, slice(on[0].start, on[-1].stop), self.positions))

    @property
    def ends(self) -> list[int]:
        """The last token of each span."""
        return [rows.stop - 1 for rows, _ in self._own]

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: Rule
    ) -> torch.Tensor:
        """Hold the keys and values of a layer and return its output, [1, heads, tokens, head_dim]."""
        output = torch.empty_like(query)
        lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
        for held, (rows, at) in zip(self.held, self._own, strict=True):
            # A copy: views would hold the whole row as long as one of its spans is needed.
            held.states.append(torch.stack([key[:, :, rows], value[:, :, rows]]))
            keys, values = held.states[layer]
            if held.span.start or rule.softcap is not None or at.cut(at, rule.window):
                output[:, :, rows], lse[:, :, rows] = attend(query[:, :, rows], keys, values, rule, at, at)
            else:
                # Nothing comes before: no log-sum-exp is needed, so each device's fastest kernel can be used.
                output[:, :, rows] = fused_attention(query[:, :, rows], keys, values, scale=rule.scale)
        for past in self._past:
            past.merge(output, lse, query, layer, rule)
        return output


class Decode:
    """Forwards of the next token of each answer.

    Beside each answer lies the tail of its prompt, [tail | answer], where that is short. Tails are flush right, so that
    all answers begin at one index.

    Args:
        held: All spans of the tree, with the keys and values of all layers.
        lengths: Tokens of each prompt.
        max_new_tokens: Longest answer.
    """

    def __init__(self, held: Sequence[Held], lengths: Sequence[int], max_new_tokens: int) -> None:
        tails = [each for each in held if each.span.stop == lengths[each.span.first] and each.span.tokens <= TAIL]
        self.held = [each for each in held if each not in tails]
        sizes = torch.zeros(len(lengths), 1, dtype=torch.long)
        for each in tails:
            sizes[each.span.first] = each.span.tokens
        self._index = int(sizes.max())
        steps = torch.arange(-self._index, max_new_tokens)
        self._at = torch.where(steps >= -sizes, torch.tensor(lengths)[:, None] + steps, NOWHERE)
        self._states = []
        for layer, like in enumerate(held[0].states):
            states = like.new_zeros(2, len(lengths), like.shape[2], len(steps), like.shape[4])
            for each in tails:
                begin = self._index - each.span.tokens
                states[:, each.span.first, :, begin : self._index] = each.states[layer][:, 0]
            self._states.append(states)
        self._place()

    def _place(self) -> None:
        self.positions = self._at[:, self._index, None].T
        """Shape [1, answers]."""
        self._own = Places(self.positions.T), Places(self._at[:, : self._index + 1])
        self._past = [_Past(each, slice(each.span.first, each.span.last), self.positions) for each in self.held]

    def advance(self) -> None:
        """Go to the next token of each answer."""
        self._index += 1
        self._place()

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all answers but these, and the spans that none of them continues."""
        kept = []
        for each in self.held:
            on = [number for number, row in enumerate(rows) if each.span.first <= row < each.span.last]
            if on:
                kept.append(replace(each, span=replace(each.span, first=on[0], last=on[-1] + 1)))
        self.held = kept
        self._at = self._at[rows]
        self._states = [states[:, rows] for states in self._states]
        self._place()

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: Rule
    ) -> torch.Tensor:
        """Hold the keys and values of a layer and return its output, [1, heads, answers, head_dim]."""
        states = self._states[layer]
        states[:, :, :, self._index] = torch.cat([key, value]).transpose(1, 2)
        keys, values = states[:, :, :, : self._index + 1]
        output, lse = attend(_swap(query), keys, values, rule, *self._own)
        output, lse = _swap(output), lse.permute(2, 1, 0)
        for past in self._past:
            past.merge(output, lse, query, layer, rule)
        return output


def _swap(states: torch.Tensor) -> torch.Tensor:
    """Take tokens for rows, or rows for tokens: from [1, heads, N, head_dim] to [N, heads, 1, head_dim], and back."""
    return states.transpose(0, 2)
