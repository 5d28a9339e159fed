from __future__ import annotations

import os
from pathlib import Path

import pytest

from needlework.errors import DataError, UserError
from needlework.train.hosted.api import Job
from needlework.train.hosted.record import Record, load, new_key
from tests.train.hosted.conftest import REQUEST


@pytest.mark.parametrize("job", [None, Job("job-1", "succeeded", "ft:model", "", 5)])
def test_a_record_is_read_as_it_was_written(tmp_path: Path, job: Job | None) -> None:
    record = Record("openai", "https://a.b/v1", REQUEST, {"cost": 1.5}, True, 1.0, "file-1", 2.0, job)
    record.save(tmp_path / "job.json")
    assert load(tmp_path / "job.json") == record


def test_a_record_is_on_the_disk_before_anything_else_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    path = tmp_path / "job.json"
    Record("openai", "https://a.b/v1", REQUEST, {}).save(path)
    assert flushed == [path.stat().st_ino, tmp_path.stat().st_ino]


def test_a_run_without_a_job_says_how_to_begin_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path.name} holds no hosted job"):
        load(tmp_path / "hosted" / "job.json")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"request": {"key": "x"}, "job": null}'])
def test_a_damaged_record_is_named_and_never_taken_for_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(DataError, match=r"job\.json is damaged"):
        load(tmp_path / "job.json")


def test_keys_differ_and_are_short_enough_for_every_host() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert max(map(len, keys)) <= 18
