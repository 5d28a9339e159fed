from __future__ import annotations

from needlework.report.fates import examples, fates
from needlework.report.pairing import Pair
from tests.report.conftest import prediction


def pairs(before: str, after: str) -> list[Pair]:
    return [Pair(prediction("kv", i, "", b == "1", extra={"exact": a == "1"}),
                 prediction("kv", i, "", a == "1", extra={}))
            for i, (b, a) in enumerate(zip(before, after, strict=True))]  # fmt: skip


def test_examples_are_spread_evenly_over_what_changed() -> None:
    chosen = examples(pairs("0" * 9 + "111", "1" * 9 + "110"), found=True)
    assert [pair.before.id for pair in chosen] == ["kv/0001", "kv/0004", "kv/0007"]
    assert [pair.before.id for pair in examples(pairs("0111", "0110"), found=False)] == ["kv/0003"]
    assert examples(pairs("01", "01"), found=True) == []


def test_fates_count_what_became_of_each_question() -> None:
    assert list(fates(pairs("111000", "110001"), "").values()) == [2, 1, 1, 2]
