from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow as pa
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from pyarrow import parquet

from needlework.benchmarks.flenqa_file import Row, read_rows
from needlework.errors import DataError

# In the form of the authors' file; the words are ours.
PIR: dict[str, Any] = {
    "global_sample_id": 7,
    "sample_id": 7,
    "label": "True",
    "dataset": "PIR",
    "facts": ["Ada is in the hall.", "The hall is marble-floored."],
    "rule": None,
    "statement": None,
    "assertion/question": "Is Ada in a marble-floored room?",
    "mixin": "Ada is in the hall.\nThe hall is marble-floored.",
    "padding_type": "books",
    "dispersion": "first",
    "ctx_size": 250,
}
RULETAKER = PIR | {
    "global_sample_id": 9307,
    "dataset": "Simplified RuleTaker",
    "facts": None,
    "rule": ["If X is big and X is good then X is tall."],
    "statement": ["Ada is big.", "Ada is good."],
    "assertion/question": "Ada is tall",
}


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_json_lines_an_array_a_zip_and_parquet_read_alike(tmp_path: Path) -> None:
    rows = [PIR, RULETAKER]
    lines = written(tmp_path / "FLenQA.jsonl", rows)
    (tmp_path / "array.json").write_text(json.dumps(rows, indent=1))
    with zipfile.ZipFile(tmp_path / "FLenQA.zip", "w") as archive:
        archive.write(lines, "FLenQA.json")
        archive.writestr("__MACOSX/._FLenQA.json", "")
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "eval.parquet")
    found = [
        list(read_rows(str(tmp_path / name))) for name in ("FLenQA.jsonl", "array.json", "FLenQA.zip", "eval.parquet")
    ]
    assert found[0] == found[1] == found[2] == found[3]
    assert [row.rule for row in found[0]] == [None, RULETAKER["rule"]]
    assert found[0][0].question == PIR["assertion/question"]


def test_a_label_may_be_a_boolean(tmp_path: Path) -> None:
    (row,) = read_rows(written(tmp_path / "a.jsonl", [PIR | {"label": False}]))
    assert row.label == "False"


@pytest.mark.parametrize("field", ["global_sample_id", "label", "dataset", "assertion/question", "mixin", "ctx_size"])
def test_a_missing_field_is_named_with_its_line(field: str, tmp_path: Path) -> None:
    lacking = {key: value for key, value in PIR.items() if key != field}
    file = written(tmp_path / "a.jsonl", [PIR, lacking])
    with pytest.raises(DataError, match=rf"a\.jsonl, line 2: lacks the field '{field}'"):
        list(read_rows(file))


@pytest.mark.parametrize("rule", [{}, {"rule": None}, {"rule": []}])
def test_ruletaker_needs_its_rule(rule: dict[str, Any], tmp_path: Path) -> None:
    row = {key: value for key, value in RULETAKER.items() if key != "rule"} | rule
    with pytest.raises(DataError, match=r"line 1: lacks the field 'rule'"):
        list(read_rows(written(tmp_path / "a.jsonl", [row])))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "maybe"}, r"line 1: label is 'maybe': input should be 'true' or 'false'"),
        ({"label": None}, r"line 1: label is 'None'"),
        ({"dataset": "Sudoku"}, r"line 1: dataset is 'Sudoku'"),
        ({"ctx_size": "long"}, r"line 1: ctx_size is 'long'"),
        ({"dispersion": "nowhere"}, r"line 1: dispersion is 'nowhere'"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        list(read_rows(written(tmp_path / "a.jsonl", [PIR | changes])))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"label": \n', r"a\.jsonl, line 1: not JSON"),
        ("a.jsonl", b"[1, 2", r"a\.jsonl: not JSON"),
        ("a.jsonl", b"[1]", r"a\.jsonl, row 1: it is '1'"),
        ("a.jsonl", b"\n\xff\n", r"a\.jsonl, line 2: not UTF-8"),
        ("a.zip", b"no zip", r"a\.zip is not a zip file"),
        ("a.parquet", b"no parquet", r"a\.parquet is not Parquet"),
    ],
)
def test_what_is_malformed_is_said(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_rows(str(tmp_path / name)))


@pytest.mark.parametrize("suffix", ["jsonl", "zip", "parquet"])
def test_a_missing_file_is_not_sought_on_the_hub(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"cannot read data/none\.{suffix}: No such file"):
        list(read_rows(f"data/none.{suffix}"))


def test_a_zip_holds_one_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(DataError, match=r"holds 0 \.json or \.jsonl files"):
        list(read_rows(str(tmp_path / "a.zip")))


def test_an_id_is_downloaded_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    parquet.write_table(pa.Table.from_pylist([PIR]), tmp_path / "data" / "eval-00000-of-00001.parquet")
    asked: list[tuple[str, str]] = []

    def download(id: str, *, repo_type: str, allow_patterns: str) -> str:
        asked.append((id, repo_type))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert list(read_rows("alonj/FLenQA")) == [Row.model_validate(PIR)]
    assert asked == [("alonj/FLenQA", "dataset")]


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no connection\nand much more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(DataError, match=r"alonj/FLenQA is not a file, .* Hub lets download: no connection$"):
        list(read_rows("alonj/FLenQA"))
