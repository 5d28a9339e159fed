from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needlework.errors import DataError
from needlework.haystack import Haystack, Needle, Prediction, read
from needlework.inference.backend import Ask, FakeBackend
from needlework.inference.evaluate import evaluate


def haystacks(count: int = 20) -> list[Haystack]:
    return [
        Haystack(
            f"h{index}",
            "t",
            "Read.",
            ("gold item",),
            (Needle(f"n{index}", f"g{index}", "q?", "a", ("a",), 0),),
            {"length": 64},
        )
        for index in range(count)
    ]


def score(needle: Needle, output: str) -> dict[str, bool]:
    return {"contained": "a" in output, "exact": output == "a"}


def ask(path: Path, reply: Callable[[Ask], str] = lambda ask: "a b", **options: Any) -> list[Prediction]:
    return evaluate(FakeBackend(reply, batch_size=4), haystacks(), score, path, max_new_tokens=5, **options)


def test_predictions_hold_what_was_asked_and_said(tmp_path: Path) -> None:
    predictions = ask(tmp_path / "p.jsonl", places={"n0": "1"})
    assert predictions[0] == Prediction(
        "n0", "h0", "g0", "q?", ("a",), "gold item", 0, "1", 64, 4, "a b", True, {"exact": False}
    )
    assert list(read(Prediction, tmp_path / "p.jsonl")) == predictions
    assert not (tmp_path / "p.jsonl.partial").exists()


def test_an_interrupted_evaluation_asks_only_what_is_missing(tmp_path: Path) -> None:
    asked: list[str] = []

    def reply(each: Ask) -> str:
        if len(asked) == 10:
            raise KeyboardInterrupt
        asked.append(each.needle.id)
        return "a"

    with pytest.raises(KeyboardInterrupt):
        ask(tmp_path / "p.jsonl", reply)
    assert not (tmp_path / "p.jsonl").exists()
    assert len(list(read(Prediction, tmp_path / "p.jsonl.partial"))) == 8

    again: list[str] = []
    predictions = ask(tmp_path / "p.jsonl", lambda each: again.append(each.needle.id) or "a")
    assert again == [f"n{index}" for index in range(8, 20)]
    assert [each.id for each in predictions] == [f"n{index}" for index in range(20)]


def test_a_line_cut_off_by_a_kill_is_asked_again_with_its_batch(tmp_path: Path) -> None:
    ask(tmp_path / "whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "p.jsonl.partial").write_text("".join(lines[:6]) + lines[6][:20])
    again: list[str] = []
    ask(tmp_path / "p.jsonl", lambda each: again.append(each.needle.id) or "a b")
    assert again == [f"n{index}" for index in range(4, 20)]
    assert (tmp_path / "p.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_finished_file_is_not_asked_again(tmp_path: Path) -> None:
    first = ask(tmp_path / "p.jsonl")

    def never(each: Ask) -> str:
        raise AssertionError("asked again")

    assert ask(tmp_path / "p.jsonl", never) == first


def test_answers_to_other_needles_are_refused(tmp_path: Path) -> None:
    ask(tmp_path / "p.jsonl")
    (tmp_path / "p.jsonl").rename(tmp_path / "p.jsonl.partial")
    with pytest.raises(DataError, match="answers needles that are not asked"):
        evaluate(FakeBackend(lambda each: "a"), haystacks(3), score, tmp_path / "p.jsonl", max_new_tokens=5)


def test_separators_that_are_no_newlines_do_not_split_a_record(tmp_path: Path) -> None:
    ask(tmp_path / "p.jsonl", lambda each: "a\u2028b\x85c")
    (tmp_path / "p.jsonl").rename(tmp_path / "p.jsonl.partial")
    again: list[str] = []
    ask(tmp_path / "p.jsonl", lambda each: again.append("x") or "a")
    assert not again


def test_needles_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two needles have the same id"):
        evaluate(FakeBackend(lambda each: "a"), haystacks(2) * 2, score, tmp_path / "p.jsonl", max_new_tokens=5)


def test_progress_counts_what_is_done(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    ask(tmp_path / "p.jsonl", report=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 20), (4, 20), (8, 20), (12, 20), (16, 20), (20, 20)]
