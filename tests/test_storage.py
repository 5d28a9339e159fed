from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from needlework.storage import difference, write_chunks, write_json, write_text


def test_a_file_is_written_whole_with_its_folders(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"é": 1})
    assert (tmp_path / "a" / "b.json").read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "x", "new \ud800")
    assert (tmp_path / "x").read_text() == "old"


def test_a_file_of_pieces_is_written_whole(tmp_path: Path) -> None:
    write_chunks(tmp_path / "a" / "x", [b"one", memoryview(b"two")], tmp_path / "work" / "x.tmp")
    assert (tmp_path / "a" / "x").read_bytes() == b"onetwo"
    assert not list((tmp_path / "work").iterdir())


def test_a_disk_that_is_full_is_named_with_the_file_and_what_was_written_is_removed(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as error:
        write_chunks(tmp_path / "x", chunks())
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "x"))
    assert not list(tmp_path.iterdir())


def test_whatever_stops_the_writing_leaves_nothing(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise KeyError("a fault")

    with pytest.raises(KeyError):
        write_chunks(tmp_path / "x", chunks())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("saved", "given", "expected"),
    [
        ({"a": {"b": 1, "c": [1]}}, {"a": {"b": 1, "c": [1]}}, ""),
        ({"a": {"b": 1}, "z": 0}, {"a": {"b": 2}, "z": 1}, "a.b is 1 there and 2 here"),
        ({"a": 1}, {}, "a is 1 there and None here"),
    ],
)
def test_the_first_difference_is_named(saved: Any, given: Any, expected: str) -> None:
    assert difference(saved, given) == expected
