from __future__ import annotations

import json
from pathlib import Path

import pytest

from needlework.errors import DataError
from needlework.report.stored import Comparison, Step, parse, read
from tests.report.conftest import SAME, benchmark, comparison


def test_what_a_file_holds_besides_is_kept() -> None:
    written = comparison(kv=benchmark("Facts", SAME | {"design_effect": 1.5}, later=[1])) | {"not_shared": {}}
    assert parse(Comparison, json.dumps(written), "file") == written


def test_titles_cannot_reorder_what_is_read() -> None:
    found = parse(Comparison, json.dumps(comparison(kv=benchmark("a\u202eb", SAME))), "file")
    assert found["benchmarks"]["kv"]["title"] == "a[U+202E]b"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"step": 1}', "file lacks 'loss'"),
        ('{"step": 1, "loss": "2", "answer_accuracy": 0}', "file, loss should be a valid number, not '2'"),
        ('{"step": 1, "loss": true, "answer_accuracy": 0}', "file, loss should be a valid number, not True"),
        ('{"step": 1, "loss": Infinity, "answer_accuracy": 0}', "file, loss should be a finite number, not inf"),
        ("7", "file should be a JSON object, not 7"),
        ("{", "file is not JSON"),
        ("[" * 100_000, "file is not JSON"),
    ],
)
def test_the_first_part_of_another_form_is_named(line: str, said: str) -> None:
    with pytest.raises(DataError) as error:
        parse(Step, line, "file")
    assert str(error.value).startswith(said)
    assert str(error.value).endswith("; delete the file and run the command that writes it again")


def test_answers_that_were_cut_off_need_the_limit() -> None:
    written = comparison(kv=benchmark("Facts", SAME, cut={"before": 0.5, "after": 0.0}))
    with pytest.raises(DataError, match="file, benchmarks, kv: cut without its limit; delete the file"):
        parse(Comparison, json.dumps(written), "file")


def test_a_missing_file_is_named_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no comparison\.json; run `needlework compare` first"):
        read(Comparison, tmp_path / "comparison.json", "needlework compare")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_bytes(b"\xff")
    with pytest.raises(DataError, match="cannot read"):
        read(Comparison, tmp_path / "comparison.json", "needlework compare")
