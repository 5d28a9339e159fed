from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from needlework.errors import DataError
from needlework.remote import RemoteError
from needlework.train.hosted import watch
from needlework.train.hosted.api import Host, Job
from tests.hosting import Service, error
from tests.train.hosted.conftest import REQUEST

pytestmark = pytest.mark.parametrize("service", ["openai"], indirect=True)


class Watcher:
    """Follows a job and keeps what it is shown."""

    def __init__(self, host: Host, log: Path) -> None:
        self.host, self.log = host, log
        self.jobs: list[Job] = []
        self.told: list[str] = []
        self.steps: list[tuple[int, int, str]] = []

    def follow(self, id: str) -> Job:
        return watch.follow(
            self.host,
            id,
            self.log,
            self.jobs.append,
            self.told.append,
            lambda done, total, note: self.steps.append((done, total, note)),
        )


@pytest.fixture
def job(host: Host, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(watch, "POLL", 0.01)
    return host.create(REQUEST, "file-0").id


@pytest.fixture
def watcher(host: Host, tmp_path: Path) -> Watcher:
    return Watcher(host, tmp_path / "hosted" / "events.jsonl")


def happen(service: Service, job: str, *messages: str, **data: Any) -> None:
    for message in messages:
        entry = {"id": f"event-{len(service.happened[job])}", "created_at": 5, "message": message, "data": data or None}
        service.happened[job].insert(0, entry)


def test_a_job_is_followed_to_its_end(
    service: Service, watcher: Watcher, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(service, job, "queued")
    scenes = iter(
        [
            lambda: happen(service, job, "Step 1/2: training loss=0.5", step=1, total_steps=2),
            lambda: (happen(service, job, "done"), service.end("succeeded")),
        ]
    )
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: next(scenes)())
    assert watcher.follow(job).model == "ft:base-model:needle-1"
    assert watcher.told == ["  queued", "  done"]
    assert watcher.steps == [(1, 2, "Step 1/2: training loss=0.5")]
    assert [each.status for each in watcher.jobs] == ["validating_files", "validating_files", "succeeded"]
    assert [json.loads(line)["message"] for line in watcher.log.open()] == [
        "queued",
        "Step 1/2: training loss=0.5",
        "done",
    ]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_it_ends_however_the_job_ends(service: Service, watcher: Watcher, job: str, status: str) -> None:
    service.end(status)
    assert watcher.follow(job).state == status


def test_events_are_shown_and_logged_once_also_after_a_kill(service: Service, watcher: Watcher, job: str) -> None:
    happen(service, job, "one", "two", "three")
    service.end("succeeded")
    watcher.follow(job)
    whole = watcher.log.read_text()
    watcher.log.write_text(whole[:-5])
    watcher.told.clear()
    watcher.follow(job)
    assert watcher.told == ["  three"]
    assert watcher.log.read_text() == whole
    watcher.told.clear()
    watcher.follow(job)
    assert watcher.told == []


def test_a_host_that_fails_for_a_while_is_waited_for(service: Service, watcher: Watcher, job: str) -> None:
    service.end("succeeded")
    service.faults["job"].extend([error(500)] * 8)
    assert watcher.follow(job).state == "succeeded"
    assert len(watcher.told) == 1


def test_a_host_that_fails_for_long_or_refuses_ends_it(
    service: Service, watcher: Watcher, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PATIENCE", 1)
    service.faults["job"].extend([error(500)] * 14)
    with pytest.raises(RemoteError, match=r"\(500\)"):
        watcher.follow(job)
    service.faults["job"].append(error(404))
    with pytest.raises(RemoteError, match=r"\(404\)"):
        watcher.follow(job)


def test_a_host_that_does_not_list_events_still_has_the_job(
    service: Service, watcher: Watcher, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([lambda: None, lambda: service.end("succeeded")])
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: next(looks)())
    service.faults["events"].extend([error(404)] * 3)
    assert watcher.follow(job).state == "succeeded"
    assert len(watcher.jobs) == 3
    assert len(watcher.told) == 1
    assert "(404)" in watcher.told[0]


@pytest.mark.parametrize("content", [b"{bad\n", b"[]\n", b"\xff\n"])
def test_a_damaged_log_is_told(watcher: Watcher, job: str, content: bytes) -> None:
    watcher.log.parent.mkdir()
    watcher.log.write_bytes(content)
    with pytest.raises(DataError, match=r"events\.jsonl is damaged\. Delete it"):
        watcher.follow(job)
