from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from needlework.errors import DataError
from needlework.haystack import Haystack, Needle, Prediction, read
from needlework.inference.backend import Ask, FakeBackend, TooLongError, check_lengths
from needlework.inference.cache import AnswerCache
from needlework.inference.evaluate import Evaluation, evaluate


def haystacks(count: int = 20) -> list[Haystack]:
    return [
        Haystack(
            f"h{index}",
            "t",
            "Read.",
            ("gold item",),
            (Needle(f"n{index}", f"g{index}", f"q{index}?", "a", ("a",), 0),),
            {"length": 64},
        )
        for index in range(count)
    ]


def score(needle: Needle, output: str) -> dict[str, bool]:
    return {"contained": "a" in output, "exact": output == "a"}


def ask(path: Path, reply: Callable[[Ask], str] = lambda ask: "a b", **options: Any) -> list[Prediction]:
    backend = FakeBackend(reply, batch_size=4)
    return evaluate(backend, haystacks(), score, path, max_new_tokens=5, **options).predictions


def test_predictions_hold_what_was_asked_and_said(tmp_path: Path) -> None:
    predictions = ask(tmp_path / "p.jsonl", places={"n0": "1"})
    assert replace(predictions[0], prompt="") == Prediction(
        "n0", "h0", "g0", "q0?", ("a",), "gold item", 0, "1", 64, 4, "a b", True, {"exact": False}
    )
    assert list(read(Prediction, tmp_path / "p.jsonl")) == predictions
    assert not (tmp_path / "p.jsonl.partial").exists()


def test_each_text_that_is_asked_has_a_hash_of_its_own(tmp_path: Path) -> None:
    first, again = ask(tmp_path / "first.jsonl"), ask(tmp_path / "again.jsonl", lambda ask: "c")
    assert [each.prompt for each in first] == [each.prompt for each in again]
    assert len({each.prompt for each in first}) == len(first)


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


def never(each: Ask) -> str:
    raise AssertionError("asked again")


def test_a_finished_file_is_not_asked_again(tmp_path: Path) -> None:
    first = ask(tmp_path / "p.jsonl")
    assert ask(tmp_path / "p.jsonl", never) == first


@pytest.mark.parametrize("suffix", ["", ".partial"])
def test_a_damaged_line_is_named_and_nothing_is_asked(tmp_path: Path, suffix: str) -> None:
    ask(tmp_path / "p.jsonl")
    lines = (tmp_path / "p.jsonl").read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:5], b"xx" + lines[5], *lines[6:]])
    (tmp_path / "p.jsonl").unlink()
    path = tmp_path / f"p.jsonl{suffix}"
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=rf"{path.name}, line 6: not a JSON record"):
        ask(tmp_path / "p.jsonl", never)
    assert path.read_bytes() == damaged


def test_output_of_any_kind_is_recorded_as_it_is(tmp_path: Path) -> None:
    odd = "<script>\x1b[2J\0\r\n\u202e" + "x" * 100_000
    predictions = ask(tmp_path / "p.jsonl", lambda each: odd)
    assert {each.output for each in predictions} == {odd}
    assert list(read(Prediction, tmp_path / "p.jsonl")) == predictions


def test_what_is_no_text_is_replaced(tmp_path: Path) -> None:
    assert ask(tmp_path / "p.jsonl", lambda each: "a\ud800b")[0].output == "a?b"


class Short(FakeBackend):
    """Has a context of so few tokens that every fifth needle is too long."""

    def batches(self, asks: Sequence[Ask], *, max_new_tokens: int) -> list[list[int]]:
        check_lengths(asks, [[0] * (50 if each.needle.id[-1] in "05" else 5) for each in asks], max_new_tokens, 40)
        return FakeBackend.batches(self, asks, max_new_tokens=max_new_tokens)


def ask_short(path: Path, **options: Any) -> Evaluation:
    return evaluate(Short(lambda each: "a"), haystacks(), score, path, max_new_tokens=5, **options)


def test_prompts_that_are_too_long_are_an_error_that_counts_them(tmp_path: Path) -> None:
    message = (
        r"needle n0 needs 50 \+ 5 tokens, but the model's context is 40. 3 more needles are too long, too. Use short"
    )
    with pytest.raises(TooLongError, match=message):
        ask_short(tmp_path / "p.jsonl")
    assert not list(tmp_path.glob("p.jsonl*"))


def test_on_request_they_are_skipped_and_recorded(tmp_path: Path) -> None:
    result = ask_short(tmp_path / "predictions-kv.jsonl", skip_too_long=True)
    assert len(result.predictions) == 16
    assert list(result.skipped) == ["n0", "n5", "n10", "n15"]
    assert (tmp_path / "skipped-kv.jsonl").read_text().count("\n") == 4
    assert ask_short(tmp_path / "predictions-kv.jsonl") == result


def test_where_all_are_too_long_there_is_nothing_to_skip_to(tmp_path: Path) -> None:
    with pytest.raises(TooLongError, match="needle n0 needs"):
        evaluate(Short(lambda each: "a"), haystacks(1), score, tmp_path / "p", max_new_tokens=5, skip_too_long=True)


def test_what_an_earlier_run_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    def cache() -> AnswerCache:
        return AnswerCache(tmp_path / "answers", {"model": "m"}, lambda text: None)

    first = evaluate(
        FakeBackend(lambda each: "a b"), haystacks(12), score, tmp_path / "1", max_new_tokens=5, cache=cache()
    )
    asked: list[str] = []
    backend = FakeBackend(lambda each: asked.append(each.needle.id) or "a b")
    second = evaluate(backend, haystacks(20), score, tmp_path / "2", max_new_tokens=5, cache=cache())
    assert asked == [f"n{index}" for index in range(12, 20)]
    assert (first.kept, second.kept) == (0, 12)
    assert second.predictions[:12] == first.predictions


def test_a_run_that_continues_answers_the_same_batches_beside_what_was_kept(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers", {"model": "m"}, lambda text: None)
    evaluate(FakeBackend(lambda each: "a"), haystacks(3), score, tmp_path / "1", max_new_tokens=5, cache=cache)
    asked: list[str] = []

    def reply(each: Ask) -> str:
        if each.needle.id == "n9" and "n9" not in asked:
            asked.append("n9")
            raise KeyboardInterrupt
        asked.append(each.needle.id)
        return "a"

    for _ in range(2):
        with suppress(KeyboardInterrupt):
            evaluate(FakeBackend(reply, 4), haystacks(), score, tmp_path / "p", max_new_tokens=5, cache=cache)
    # Batches of four behind the three that were kept; the one that was under way is asked again.
    assert asked == [*(f"n{index}" for index in (3, 4, 5, 6, 7, 8, 9)), *(f"n{index}" for index in range(7, 20))]
    assert (tmp_path / "p").exists()


def test_needles_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two needles have the same id"):
        evaluate(FakeBackend(lambda each: "a"), haystacks(2) * 2, score, tmp_path / "p.jsonl", max_new_tokens=5)


def test_progress_counts_what_is_done(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    ask(tmp_path / "p.jsonl", report=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 20), (4, 20), (8, 20), (12, 20), (16, 20), (20, 20)]
