"""Haystacks as token ids with labels, ready for training."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from needlework.errors import ModelError
from needlework.haystack import Haystack
from needlework.models.chat import Renderer, common_length

Tokens = npt.NDArray[np.int32]

Span = tuple[int, int]
"""First token, and one past the last."""

IGNORED = -100
"""The label of a token that is not trained on, as in PyTorch's cross entropy."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One row of training data.

        input_ids:  system  preamble  items  question  answer  end of turn
        labels:       -100      -100   -100      -100  answer  end of turn

    A conversation continues after the end of turn with the next question.
    """

    input_ids: Tokens
    """Shape [tokens]."""
    labels: Tokens
    """Shape [tokens]; -100 outside the answers, not shifted."""
    gold: tuple[Span, ...]
    """The tokens that overlap the gold item, for each needle asked in the row; (0, 0) if no item is gold."""


def encode(haystack: Haystack, renderer: Renderer) -> list[Encoded]:
    """Return the rows of a haystack: one per needle, or a single conversation of all of them.

    Raises:
        ModelError: If the chat template changes the items, or cannot render a conversation that was asked for.
    """
    if renderer.conversation:
        text, ids, answers = renderer.turns(haystack)
        return [_row(ids, answers, _gold(haystack, renderer, text)[1])]
    encoded = []
    text = renderer.prompt(haystack, haystack.needles[0])
    beginning, gold = _gold(haystack, renderer, text)
    for number, (prompt, completion) in enumerate(renderer.rows(haystack)):
        span = gold[number]
        if prompt[: span[1]] != beginning[: span[1]]:
            # The question changed tokens before it, which no tokenizer in use does.
            span = _gold(haystack, renderer, renderer.prompt(haystack, haystack.needles[number]))[1][number]
        ids = prompt + completion
        encoded.append(_row(ids, [(len(prompt), len(ids))], [span]))
    return encoded


def _row(ids: list[int], answers: list[Span], gold: list[Span]) -> Encoded:
    input_ids = np.array(ids, dtype=np.int32)
    labels = np.full_like(input_ids, IGNORED)
    for start, end in answers:
        labels[start:end] = input_ids[start:end]
    return Encoded(input_ids, labels, tuple(gold))


def _gold(haystack: Haystack, renderer: Renderer, text: str) -> tuple[list[int], list[Span]]:
    """Return the ids of a text that contains the items, and the token span of each needle's gold item."""
    first = text.find("\n".join(haystack.items))
    if first < 0:
        raise ModelError("the model's chat template changes the items of a haystack, so gold items cannot be found.")
    starts = list(accumulate((len(item) + 1 for item in haystack.items), initial=first))
    places = [needle.position for needle in haystack.needles]
    characters = [(starts[place], starts[place + 1] - 1) if place >= 0 else (0, 0) for place in places]
    if renderer.tokenizer.is_fast:
        encoding = renderer.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        begins, ends = np.array(encoding["offset_mapping"]).T
        spans = [
            (int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(begins, end)))
            for start, end in characters
        ]
        return encoding["input_ids"], spans
    ids, *parts = renderer.encode([text, *(text[:cut] for span in characters for cut in span)])
    # If the text is cut inside a token, the tokens before the cut are the same and that one differs.
    same = [common_length([ids, part]) for part in parts]
    cut = [count < len(part) for count, part in zip(same, parts, strict=True)]
    return ids, [(same[i], same[i + 1] + cut[i + 1]) for i in range(0, len(parts), 2)]
