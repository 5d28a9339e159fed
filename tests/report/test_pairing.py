from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from needlework.benchmark_settings import sections
from needlework.errors import DataError
from needlework.haystack import write
from needlework.report.pairing import _ELSEWHERE, _LEFT_OUT, pair, read_answers
from needlework.storage import write_json
from tests.report.conftest import prediction


def evaluation(folder: Path, answered: str, skipped: str = "", **changes: Any) -> Path:
    """Needles of kv by their digits: those that a model answered, and those whose prompts were too long for it."""
    write([prediction("kv", int(each), "", True, **changes) for each in answered], folder / "predictions-kv.jsonl")
    if skipped:
        lines = [json.dumps({"id": f"kv/000{each}", "reason": "needs 9 tokens"}) for each in skipped]
        (folder / "skipped-kv.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def paired(before: Path, after: Path) -> list[str]:
    found = pair(read_answers(before, "kv"), read_answers(after, "kv"))
    assert all(first.id == second.id for first, second in found)
    return [each.id[-1] for each, _ in found]


def test_what_was_too_long_for_either_model_is_in_no_pair(tmp_path: Path) -> None:
    before = evaluation(tmp_path / "b", "43015", "62")
    after = evaluation(tmp_path / "a", "0123", "456")
    assert paired(before, after) == ["3", "0", "1"]
    assert paired(after, before) == ["0", "1", "3"]
    assert read_answers(after, "kv").skipped == {"kv/0004", "kv/0005", "kv/0006"}


def test_a_needle_that_was_skipped_once_and_answered_later_is_paired(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", "012", "2"), evaluation(tmp_path / "a", "012")
    assert paired(before, after) == ["0", "1", "2"]


def test_a_needle_that_is_answered_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"predictions-kv\.jsonl is damaged: it has the needle 'kv/0001' twice"):
        read_answers(evaluation(tmp_path, "0121"), "kv")


def test_a_needle_that_one_model_lacks_without_reason_is_refused(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", "0123", "5"), evaluation(tmp_path / "a", "012")
    with pytest.raises(DataError, match=r"kv was asked differently in .*: 1 of 4 needles differ, such as 'kv/0003'"):
        paired(before, after)


def test_models_that_answered_no_needle_in_common_are_refused(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", "01", "234"), evaluation(tmp_path / "a", "234", "01")
    with pytest.raises(DataError, match="3 were too long for the first and 2 for the second"):
        paired(before, after)


@pytest.mark.parametrize("changes", [{"question": "Other?"}, {"haystack": "other"}, {"length": 2048}, {"place": "1"}])
def test_the_same_id_asked_in_another_way_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    before, after = evaluation(tmp_path / "b", "012"), evaluation(tmp_path / "a", "012", **changes)
    with pytest.raises(DataError, match="3 of 3 needles differ"):
        paired(before, after)


def settings(folder: Path, **sections: dict[str, Any]) -> Path:
    write_json(evaluation(folder, "012") / "settings.json", {"benchmarks": sections})
    return folder


def test_other_settings_are_refused_though_ids_and_questions_are_the_same(tmp_path: Path) -> None:
    before = settings(tmp_path / "b", kv={"documents": 5, "file": "/here/a"})
    after = settings(tmp_path / "a", kv={"documents": 20, "file": "/there/a"})
    with pytest.raises(DataError, match=r"asked differently in .*: documents is 5 in the first and 20 in the second"):
        paired(before, after)


def test_a_setting_that_only_one_has_is_compared_where_the_other_left_it_out(tmp_path: Path) -> None:
    before = settings(tmp_path / "b", kv={"documents": 5})
    after = settings(tmp_path / "a", kv={"documents": 5, "fewshot": 5})
    with pytest.raises(DataError, match="fewshot is None in the first and 5 in the second"):
        paired(before, after)


def test_all_settings_that_may_be_none_are_compared_or_may_differ() -> None:
    fields = {name: field for each in sections().values() for name, field in each.model_fields.items()}
    assert {name for name, field in fields.items() if field.default is None} <= _LEFT_OUT | _ELSEWHERE


def test_settings_that_no_answer_depends_on_may_differ(tmp_path: Path) -> None:
    before = settings(tmp_path / "b", kv={"documents": 5, "file": "/here/a"}, mdqa={"documents": 5})
    after = settings(tmp_path / "a", kv={"documents": 5, "file": "/there/a", "new": 1}, mdqa={"documents": 9})
    assert paired(before, after) == ["0", "1", "2"]


def test_tasks_of_one_section_have_its_settings(tmp_path: Path) -> None:
    before, after = settings(tmp_path / "b", general={"fewshot": 0}), settings(tmp_path / "a", general={"fewshot": 5})
    with pytest.raises(DataError, match="fewshot is 0 in the first and 5 in the second"):
        paired(before, after)


@pytest.mark.parametrize("name", ["skipped-kv.jsonl", "settings.json"])
@pytest.mark.parametrize("content", [b"{", b"[1]\n", b"\xff"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    folder = evaluation(tmp_path / "b", "012")
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} is damaged"):
        paired(folder, folder)
