"""The haystacks as the trainer reads them: packed rows of ids, as many for each process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset

from needlework.dataset.encoded import IGNORED
from needlework.haystack import Haystack
from needlework.models.chat import PackedRow, Renderer
from needlework.train.collator import collate


class Sample(NamedTuple):
    """A packed row, and which haystack it is."""

    number: int
    row: PackedRow
    filling: bool
    """Whether it only keeps the processes in step, and no token of it is trained on."""


class PackedDataset(Dataset[Sample]):
    """The haystacks as packed rows of ids, made when asked for.

    The rows go round the processes in turn, so a global batch holds the same haystacks for any number
    of them. Where the last round would be short it is filled up with rows that are not trained on.
    """

    def __init__(self, haystacks: Sequence[Haystack], renderer: Renderer, processes: int = 1) -> None:
        self.haystacks = haystacks
        self.renderer = renderer
        self.processes = processes

    def __len__(self) -> int:
        return -(-len(self.haystacks) // self.processes) * self.processes

    def __getitem__(self, place: int) -> Sample:
        number = place % len(self.haystacks)
        return Sample(number, self.renderer.pack(self.haystacks[number]), place != number)


def collate_sample(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the model inputs of one sample, with its number as `sample`, and whether it is not trained on.

    Raises:
        UserError: If a needle has no supervised token, from which nothing would be learned.
    """
    (sample,) = samples
    inputs = collate(sample.row)
    if sample.filling:
        ignored = torch.full_like(inputs["labels"], IGNORED)
        inputs |= {"labels": ignored, "shift_labels": ignored}
    return inputs | {"sample": sample.number, "filling": sample.filling}


def supervised(row: PackedRow, renderer: Renderer) -> str:
    """Say what is trained on in a row, decoded from its labels: a mistake in them shows here."""
    text = renderer.tokenizer.decode(collate(row)["labels"][: row.answers[0]])
    lacking = "" if renderer.end is not None else ". Nothing ends them, so the model will not learn to stop"
    return f"supervised: {text!r}, the first of {len(row.answers)} answers of {sum(row.answers)} tokens{lacking}"
