from __future__ import annotations

from pathlib import Path

import pytest

from needlework.errors import DataError
from needlework.haystack import Prediction, to_json, write
from needlework.inference.answers import (
    partial_file,
    read_finished,
    read_partial,
    read_skipped,
    skipped_file,
    unanswered,
    write_skipped,
)

ASKED = [f"n{index}" for index in range(5)]


def prediction(id: str) -> Prediction:
    return Prediction(id, "h", id, "q?", ("a",), "", 0, "", None, 4, "a", True)


def lines(ids: list[str]) -> bytes:
    return "".join(to_json(prediction(id)) + "\n" for id in ids).encode()


def test_a_finished_file_is_returned_in_the_order_asked(tmp_path: Path) -> None:
    write(map(prediction, reversed(ASKED)), tmp_path / "p.jsonl")
    predictions, skipped = read_finished(tmp_path / "p.jsonl", ASKED)
    assert [each.id for each in predictions] == ASKED
    assert skipped == {}


def test_a_finished_file_that_lacks_needles_is_refused(tmp_path: Path) -> None:
    write(map(prediction, ASKED[:3]), tmp_path / "p.jsonl")
    with pytest.raises(DataError, match=r"p\.jsonl lacks 2 needles, such as 'n3'"):
        read_finished(tmp_path / "p.jsonl", ASKED)


def test_needles_that_were_too_long_are_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "predictions-kv.jsonl"
    write(map(prediction, ASKED[:3]), path)
    write_skipped(path, {"n3": "needs 9 tokens", "n4": "needs 9 tokens"})
    assert skipped_file(path) == tmp_path / "skipped-kv.jsonl"
    assert read_finished(path, ASKED)[1] == read_skipped(path) == {"n3": "needs 9 tokens", "n4": "needs 9 tokens"}


def test_a_damaged_record_of_them_is_named(tmp_path: Path) -> None:
    (tmp_path / "skipped-kv.jsonl").write_text('{"id": "n3", "reason": "long"}\n{"id": 3')
    with pytest.raises(DataError, match=r"skipped-kv\.jsonl, line 2"):
        read_skipped(tmp_path / "predictions-kv.jsonl")


@pytest.mark.parametrize("cut", [b"", b'{"id": "n3", "hay', b'{"id": "\xe2\x80', b"\0\0\0\0"])
def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path, cut: bytes) -> None:
    (tmp_path / "p").write_bytes(lines(ASKED[:3]) + cut)
    assert list(read_partial(tmp_path / "p", ASKED)) == ASKED[:3]


@pytest.mark.parametrize("damage", [b"{}", b'{"id": "n1"', b"\xff\xfe", b"\0\0", b""])
def test_another_damaged_line_is_named_and_everything_stays(tmp_path: Path, damage: bytes) -> None:
    content = lines(ASKED[:1]) + damage + b"\n" + lines(ASKED[2:])
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(DataError, match=r"p, line 2: .*delete it to ask its needle again; the other answers stay"):
        read_partial(tmp_path / "p", ASKED)
    assert (tmp_path / "p").read_bytes() == content


def test_answers_to_other_needles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(lines(ASKED))
    with pytest.raises(DataError, match="answers needles that are not asked, such as 'n4'"):
        read_partial(tmp_path / "p", ASKED[:4])


def test_separators_that_are_no_newlines_do_not_split_a_record(tmp_path: Path) -> None:
    text = "a\u2028b\x85c\r"
    made = Prediction("n0", "h", "g", "q?", ("a",), "", 0, "", None, 4, text, True)
    (tmp_path / "p").write_text(to_json(made) + "\n", encoding="utf-8", newline="\n")
    assert read_partial(tmp_path / "p", ASKED)["n0"].output == text


def test_what_is_unanswered_is_known_before_and_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "predictions-kv.jsonl"
    assert unanswered(path, ["a", "b", "c"]) == {"a", "b", "c"}
    partial_file(path).write_bytes(lines(["b"]) + lines(["c"])[:-5])
    assert unanswered(path, ["a", "b", "c"]) == {"a", "c"}
    partial_file(path).rename(path)
    assert unanswered(path, ["a", "b", "c"]) == set()
