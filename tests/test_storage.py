from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from needlework.errors import DataError, UserError
from needlework.storage import checksum, difference, locked, read_object, write_chunks, write_json, write_text


def test_a_file_is_written_whole_with_its_folders(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"é": 1})
    assert (tmp_path / "a" / "b.json").read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


def test_an_object_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": [1]})
    assert read_object(tmp_path / "a.json") == {"é": [1]}
    assert read_object(tmp_path / "b.json") is None


def test_a_folder_is_locked_for_one_at_a_time_and_holds_nothing_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with locked(folder):
        with pytest.raises(UserError, match=r"another process is at work in .*run"), locked(folder):
            pass
        with locked(folder / "inner"):
            pass
    with locked(folder):
        assert [path.name for path in folder.iterdir()] == ["inner"]


@pytest.mark.parametrize("content", [b'{"a": 1', b"[1]", b"\xff"])
def test_a_damaged_object_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json is damaged: it is not a JSON object"):
        read_object(tmp_path / "a.json")


def test_a_checksum_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert checksum(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(DataError, match=r"cannot read .*b: No such file"):
        checksum(tmp_path / "b")


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
