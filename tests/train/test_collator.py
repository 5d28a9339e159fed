from __future__ import annotations

import pytest
import torch

from needlework.errors import UserError
from needlework.models.chat import PackedRow
from needlework.train.collator import collate

#                prefix       branch 0: 2 prompt, 2 answer   branch 1: 1 prompt, 1 answer
ROW = PackedRow((11, 12, 13), ((21, 22, 23, 24), (31, 32)), (2, 1))


def test_branches_follow_the_prefix_and_restart_its_positions() -> None:
    inputs = collate(ROW)
    assert inputs["input_ids"].tolist() == [[11, 12, 13, 21, 22, 23, 24, 31, 32]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5, 6, 3, 4]]


def test_only_answer_tokens_are_supervised_each_from_the_token_before_it() -> None:
    inputs = collate(ROW)
    assert inputs["labels"].tolist() == [23, 24, 32]
    assert inputs["input_ids"][0, inputs["logits_to_keep"]].tolist() == [22, 23, 31]


def picture(window: int | None) -> list[str]:
    """Draw which keys, across, each branch row, down, sees."""
    mask = collate(ROW)["layout"].branch_mask(window, torch.device("cpu"))
    return ["".join("x" if seen else "." for seen in row) for row in mask.tolist()]


def test_a_branch_sees_the_prefix_and_its_own_past() -> None:
    assert picture(window=None) == [
        "xxxx.....",
        "xxxxx....",
        "xxxxxx...",
        "xxxxxxx..",
        "xxx....x.",
        "xxx....xx",
    ]


def test_windows_count_positions_not_places_in_the_row() -> None:
    assert picture(window=3) == [
        ".xxx.....",
        "..xxx....",
        "...xxx...",
        "....xxx..",
        ".xx....x.",
        "..x....xx",
    ]


def test_a_row_without_an_answer_is_refused() -> None:
    with pytest.raises(UserError, match="no answer tokens"):
        collate(PackedRow((1,), ((2, 3),), (0,)))
