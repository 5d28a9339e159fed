from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needlework.benchmarks.lost_in_the_middle import read_documents, read_pairs
from needlework.errors import DataError
from tests.benchmarks.official_files import document_rows, oracle_rows, pair_rows, write_rows


def test_the_oracle_file_has_a_gold_document_alone(tmp_path: Path) -> None:
    first, _ = read_documents(write_rows(tmp_path / "oracle.jsonl.gz", oracle_rows(2)))
    assert (first.gold.title, first.others, first.place) == ("River 0", (), 1)
    (question,) = first.gold.questions
    assert (question.text, question.accepted, question.id) == ("where does river 0 end", ("lake number0x",), "line 1")


def test_an_n_document_file_has_distractors_in_order_and_a_gold_place(tmp_path: Path) -> None:
    first, _ = read_documents(write_rows(tmp_path / "documents.jsonl.gz", document_rows(2, 5, 3)))
    assert [each.title for each in first.others] == ["Hill 0", "Hill 1", "Hill 2", "Hill 3"]
    assert (first.gold.title, first.place) == ("River 0", 4)


def test_files_need_not_be_gzipped(tmp_path: Path) -> None:
    path = tmp_path / "oracle.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in oracle_rows(3)))
    assert len(read_documents(str(path))) == 3


def without(field: str) -> Callable[[dict[str, Any]], object]:
    return lambda row: row.pop(field)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("answers"), "line 2: answers: field required"),
        (without("question"), "line 2: question: field required"),
        (without("ctxs"), "line 2: ctxs: field required"),
        (lambda row: row["ctxs"][1].pop("text"), "line 2: ctxs.1.text: field required"),
        (lambda row: row["ctxs"][1].update(text=" "), "line 2: ctxs.1.text: string should match pattern"),
        (lambda row: row["ctxs"][1].pop("isgold"), "line 2: ctxs.1.isgold: field required"),
        (lambda row: row["ctxs"].pop(2), "line 2: 0 of 2 ctxs are gold"),
        (lambda row: row["ctxs"][0].update(isgold=True), "line 2: 2 of 3 ctxs are gold"),
        (lambda row: row["ctxs"].pop(0), "line 2: 2 ctxs, but the lines before have 3"),
    ],
)
def test_a_fault_of_documents_is_named_with_its_line(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], object], message: str
) -> None:
    rows = document_rows(3, 3, 2)
    spoil(rows[1])
    with pytest.raises(DataError, match=message) as caught:
        read_documents(write_rows(tmp_path / "nq.jsonl.gz", rows))
    assert "nq.jsonl.gz" in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("key"), "line 2: key: field required"),
        (without("ordered_kv_records"), "line 2: ordered_kv_records: field required"),
        (lambda row: row["ordered_kv_records"][0].pop(), "line 2: ordered_kv_records.0"),
        (lambda row: row.update(value="another"), "line 2: ordered_kv_records lacks the pair of key 'key-1-2'"),
        (lambda row: row["ordered_kv_records"].append(["key-1-0", "x"]), "a key of ordered_kv_records occurs twice"),
    ],
)
def test_a_fault_of_pairs_is_named_with_its_line(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], object], message: str
) -> None:
    rows = pair_rows(3, 5)
    spoil(rows[1])
    with pytest.raises(DataError, match=message):
        read_pairs(write_rows(tmp_path / "kv.jsonl.gz", rows))


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "empty.jsonl.gz", [])
    for read in (read_documents, read_pairs):
        with pytest.raises(DataError, match="it is empty"):
            read(path)


def test_a_gzip_file_that_was_cut_off_is_an_error(tmp_path: Path) -> None:
    path = Path(write_rows(tmp_path / "cut.jsonl.gz", oracle_rows(50)))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"cut.jsonl.gz: not a whole gzip file"):
        read_documents(str(path))
