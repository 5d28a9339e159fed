"""The held-out check: how many greedy answers would be right, from one forward of each packed row.

Greedy decoding takes the likeliest token after the prompt and the tokens taken so far. While each of these was the
answer's own, they are the answer's beginning, and that is what the packed row holds. So a greedy
answer begins with the first n tokens of the true one if and only if each of the n is the likeliest at its
place in the packed row, and no token has to be generated. tests/train/test_held_out.py compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, TrainerCallback

from needlework.haystack import Haystack, Needle
from needlework.models.chat import PackedRow, Renderer
from needlework.train.collator import collate

Logits = Callable[[dict[str, Any]], torch.Tensor]
"""From the inputs of a packed row to the logits of its answer tokens, [A, vocabulary]."""

VALUE, WHOLE = "held_out_value", "held_out_whole"
"""Shares of the held-out needles, as they are logged: the value found, and the whole answer right."""


class HeldOut:
    """Haystacks that are not trained on, by which the training is checked.

    Args:
        haystacks: The haystacks, of the kind that is trained on.
        steps: Optimizer steps between checks; there is one after the last step, too.
        target: The share of values found at which training stops; None lets it go on to its end.
    """

    def __init__(self, haystacks: Sequence[Haystack], *, steps: int, target: float | None) -> None:
        self.haystacks = haystacks
        self.steps = steps
        self.target = target
        self._rows: dict[int, tuple[PackedRow, list[int]]] = {}
        """What is asked of a haystack, made once: its row, and of each answer how many tokens its value needs."""

    def is_due(self, step: int, last: int) -> bool:
        """Return whether a check follows this step."""
        return step % self.steps == 0 or step == last

    def is_solved(self, accuracy: float) -> bool:
        """Return whether training stops at this share of values found."""
        return self.target is not None and accuracy >= self.target

    @torch.no_grad()
    def count(self, logits: Logits, renderer: Renderer, process: int = 0, processes: int = 1) -> torch.Tensor:
        """Return how many needles were asked, values found, and answers right as a whole: shape [3].

        Args:
            logits: Asks the model, in evaluation mode.
            renderer: The model's tokenizer and chat template.
            process: The number of this process, which asks its share of the haystacks.
            processes: How many there are. All ask equally often: a sharded model answers them together.
        """
        counts = torch.zeros(3, dtype=torch.long)
        rounds = -(-len(self.haystacks) // processes)
        for place in range(process, rounds * processes, processes):
            number = place % len(self.haystacks)
            if number not in self._rows:
                self._rows[number] = prepare(self.haystacks[number], renderer)
            judged = torch.tensor(judge(*self._rows[number], logits))
            if place < len(self.haystacks):
                counts += torch.tensor([len(judged), *judged.sum(0)])
        return counts


def prepare(haystack: Haystack, renderer: Renderer) -> tuple[PackedRow, list[int]]:
    """Return a haystack's packed row, and of each answer how many of its tokens make its value found."""
    row = renderer.pack(haystack)
    answers = collate(row)["labels"].split(row.answers)
    pairs = zip(haystack.needles, answers, strict=True)
    return row, [value_tokens(needle, ids.tolist(), renderer.tokenizer) for needle, ids in pairs]


def judge(row: PackedRow, needed: Sequence[int], logits: Logits) -> list[tuple[bool, bool]]:
    """Return for each needle whether the value is found, and whether the answer is right as a whole."""
    inputs = collate(row)
    right = (logits(inputs).argmax(-1).cpu() == inputs["labels"]).split(row.answers)
    return [(bool(own[:count].all()), bool(own.all())) for own, count in zip(right, needed, strict=True)]


def value_tokens(needle: Needle, ids: list[int], tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many of the answer's first tokens have to be right for its value to be found.

    They are those through the first accepted string, and one more, which ends it: 931 is not found where
    another digit follows. All are needed where the answer holds no accepted string word for word.

    Args:
        needle: The needle.
        ids: Its answer with the end of turn.
        tokenizer: The model's tokenizer.
    """
    ends = []
    for text in needle.accepted:
        # What comes before, such as the key that was asked, may look the same: the last is the value.
        places = list(re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", needle.answer))
        ends += [place.end() for place in places[-1:]]
    if ends:
        beginning = needle.answer[: min(ends)]
        for count in range(1, len(ids)):
            if beginning in tokenizer.decode(ids[:count]):
                return count + 1
    return len(ids)


class KeepBest(TrainerCallback):
    """Keeps the checkpoint with the most values found, of equals the latest; stops where the target is met."""

    def __init__(self, held_out: HeldOut) -> None:
        self.held_out = held_out

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or VALUE not in logs:
            return
        if state.best_metric is None or logs[VALUE] >= state.best_metric:
            state.best_metric, state.best_global_step = logs[VALUE], state.global_step
            control.should_save = True
        if self.held_out.is_solved(logs[VALUE]):
            control.should_training_stop = True
