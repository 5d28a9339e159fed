"""What both adapters promise, asked of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from needlework.remote import RemoteError
from needlework.train.hosted.api import Host, Job
from tests.hosting import LOST, Fault, Service, error
from tests.train.hosted.conftest import REQUEST


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("validating_files", "running"),
        ("paused", "running"),
        ("cancel_requested", "running"),
        ("succeeded", "succeeded"),
        ("completed", "succeeded"),
        ("failed", "failed"),
        ("error", "failed"),
        ("cancelled", "cancelled"),
        ("canceled", "cancelled"),
    ],
)
def test_the_words_of_hosts_are_understood(status: str, state: str) -> None:
    assert Job("1", status).state == state


def test_a_file_is_uploaded_whole_under_its_name(service: Service, host: Host, data: Path) -> None:
    id = host.upload(data, "needle-1.jsonl")
    (file,) = service.files
    assert (file["id"], file["filename"], file["purpose"]) == (id, "needle-1.jsonl", "fine-tune")
    assert file["bytes"] == data.stat().st_size


def test_a_file_is_found_by_its_name(service: Service, host: Host, data: Path) -> None:
    ids = [host.upload(data, f"needle-{number}.jsonl") for number in range(5)]
    assert host.find_file("needle-1.jsonl") == ids[1]
    assert host.find_file("needle-9.jsonl") is None


@pytest.mark.parametrize("fault", [error(500), error(429), LOST])
def test_requests_that_create_something_are_sent_once(service: Service, host: Host, data: Path, fault: Fault) -> None:
    service.faults["upload"].append(fault)
    with pytest.raises(RemoteError):
        host.upload(data, "needle-1.jsonl")
    service.faults["create"].append(fault)
    with pytest.raises(RemoteError):
        host.create(REQUEST, "file-0")
    assert service.calls == ["upload", "create"]


def test_requests_that_read_or_cancel_are_repeated(service: Service, host: Host) -> None:
    id = host.create(REQUEST, "file-0").id
    for operation in ("files", "jobs", "job", "events", "cancel"):
        service.faults[operation].append(error(500))
    assert host.find_file("x") is None
    assert len(host.find_jobs("needle-1", "file-0")) == 1
    assert host.retrieve(id).id == id
    assert list(host.events(id)) == []
    assert host.cancel(id).state == "cancelled"


@pytest.mark.parametrize(
    ("key", "file", "found"), [("needle-1", "other", 1), ("needle-2", "file-0", 1), ("needle-2", "other", 0)]
)
def test_a_job_is_found_by_its_key_or_its_file(service: Service, host: Host, key: str, file: str, found: int) -> None:
    host.create(REQUEST, "file-0")
    assert len(host.find_jobs(key, file)) == found


@pytest.mark.parametrize(
    "page",
    ["[]", "{}", '{"data": null}', '{"data": [1]}', '{"data": [{"id": "job-1", "status": "queued"}]}', "{"],
)
def test_a_list_that_does_not_say_what_there_is_is_no_empty_list(service: Service, host: Host, page: str) -> None:
    service.faults["jobs"].append(Fault(200, page))
    with pytest.raises(RemoteError, match="its API does not document"):
        host.find_jobs("needle-1", "file-0")


@pytest.mark.parametrize("answer", ["null", "[]", "{}", '{"id": 7, "status": "queued"}', '{"id": "job-1"}', "{"])
def test_a_malformed_job_is_refused(service: Service, host: Host, answer: str) -> None:
    service.faults["create"].append(Fault(200, answer, accept=True))
    with pytest.raises(RemoteError, match="its API does not document") as caught:
        host.create(REQUEST, "file-0")
    assert not caught.value.refused


def test_events_come_with_the_newest_first(service: Service, host: Host) -> None:
    id = host.create(REQUEST, "file-0").id
    for number in range(5):
        entry = {"id": f"event-{number}", "created_at": f"2026-11-23T00:00:0{number}Z", "message": f"m{number}"}
        numbers = {"step": number, "total_steps": 5}
        entry |= {"data": numbers} if service.style == "openai" else numbers
        service.happened[id].insert(0, entry)
    if service.style == "together":
        service.happened[id].reverse()
    events = list(host.events(id))
    assert [(each.message, each.step, each.steps) for each in events] == [(f"m{n}", n, 5) for n in (4, 3, 2, 1, 0)]
    assert len({each.id for each in events}) == 5


def test_the_key_stands_in_what_the_host_lists(service: Service, host: Host) -> None:
    host.create(REQUEST, "file-0")
    assert "needle-1" in json.dumps(service.jobs[0])
