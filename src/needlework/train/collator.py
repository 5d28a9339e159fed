"""From a packed row of ids to the model's inputs."""

from __future__ import annotations

from typing import Any

import torch

from needlework.errors import UserError
from needlework.models.chat import PackedRow
from needlework.train.shared_prefix import Layout


def collate(row: PackedRow) -> dict[str, Any]:
    """Return the model inputs of one packed row.

    The result holds `input_ids` and `position_ids` [1, P + S], the `layout`, `logits_to_keep` [A], the
    indices of the tokens that predict an answer token, and the answer tokens themselves, `labels` [A].

    Raises:
        UserError: If the row has no supervised token, from which nothing would be learned.
    """
    if not all(row.answers):
        raise UserError("a needle has no answer tokens to train on: its answer is empty.")
    layout = Layout(len(row.prefix), tuple(len(branch) for branch in row.branches))
    ids = [*row.prefix, *(token for branch in row.branches for token in branch)]
    indices: list[int] = []
    end = len(row.prefix)
    for branch, answer in zip(row.branches, row.answers, strict=True):
        end += len(branch)
        # Logits at one index predict the token at the next.
        indices += range(end - answer - 1, end - 1)
    kept = torch.tensor(indices)
    input_ids = torch.tensor(ids)
    labels = input_ids[kept + 1]
    return {
        "input_ids": input_ids[None],
        "position_ids": layout.positions()[None],
        "layout": layout,
        "logits_to_keep": kept,
        "labels": labels,
        # The name by which Trainer counts tokens that are shifted already, for the mean over all of them.
        "shift_labels": labels,
    }
