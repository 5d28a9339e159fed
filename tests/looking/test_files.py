from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from needlework.dataset.encoded import IGNORED
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import DataError
from needlework.looking.files import Chat, Ids, read_manifest, read_rows, verify
from tests.looking.conftest import chats, encoded, finish, indexed, messages


def test_rows_of_every_format_are_those_of_the_dataset_in_order(data: SyntheticDataset, export: Path) -> None:
    rows = list(read_rows(export, read_manifest(export)["files"]))
    assert len(rows) == 12
    for row, made, (user, assistant) in zip(rows, encoded(data), chats(data), strict=True):
        if isinstance(row, Chat):
            assert (row.question, row.answer) == (user["content"], assistant["content"])
            assert row.length == len(row.question) + len(row.answer)
        else:
            assert np.array_equal(row.ids, made.input_ids)
            assert (row.length, row.supervised) == (len(made.input_ids), (made.labels != IGNORED).sum())


def test_ids_of_four_bytes_are_read(tmp_path: Path) -> None:
    values = np.array([70_000, 5, 6], dtype=np.int32)
    (tmp_path / "train.bin").write_bytes(values.tobytes())
    (tmp_path / "train.idx").write_bytes(indexed([1, 2], 4, 4))
    (tmp_path / "train_mask.bin").write_bytes(bytes([1, 0, 1]))
    (tmp_path / "train_mask.idx").write_bytes(indexed([1, 2], 1, 1))
    rows = list(read_rows(tmp_path, [path.name for path in tmp_path.iterdir()]))
    assert [(row.ids.tolist(), row.supervised) for row in rows if isinstance(row, Ids)] == [([70_000], 1), ([5, 6], 1)]


def test_whole_files_pass(export: Path) -> None:
    verify(export, read_manifest(export)["files"])


def test_each_damaged_or_missing_file_is_named(export: Path) -> None:
    files = read_manifest(export)["files"]
    for name in files:
        whole = (export / name).read_bytes()
        (export / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(DataError, match=f"{name} is damaged: it has {len(whole):,} bytes"):
            verify(export, files)
        (export / name).unlink()
        with pytest.raises(DataError, match=f"{name} is missing"):
            verify(export, files)
        (export / name).write_bytes(whole)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        read_manifest(tmp_path / "nowhere")


def test_a_folder_without_a_manifest_is_not_finished(data: SyntheticDataset, tmp_path: Path) -> None:
    messages(data, tmp_path)
    with pytest.raises(DataError, match=r"no finished dataset: it has no manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("text", "fault"), [("{", "not a JSON object"), ("{}", "lacks settings"), ('{"files": {}}', "lacks")]
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=fault):
        read_manifest(tmp_path)


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "x"}', '{"messages": [{"role": "user", "content": "x"}]}'])
def test_a_line_that_is_no_chat_is_named(tmp_path: Path, line: str) -> None:
    good = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}
    (tmp_path / "train.jsonl").write_text(f"{json.dumps(good)}\n{line}\n")
    with pytest.raises(DataError, match=r"train\.jsonl, line 2: not a chat"):
        list(read_rows(tmp_path, ["train.jsonl"]))


def test_files_without_rows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"its files are notes\.txt"):
        read_rows(tmp_path, read_manifest(finish(tmp_path))["files"])
