from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from needlework.errors import UserError
from needlework.remote import RemoteError
from needlework.train.hosted import submit as module
from needlework.train.hosted.api import Host, Job
from needlework.train.hosted.record import Record, load
from needlework.train.hosted.submit import submit
from tests.hosting import CLOSED, LOST, Fault, Service, error
from tests.train.hosted.conftest import REQUEST

GARBAGE = Fault(200, "{", accept=True)


class Killed(BaseException):
    """As SIGKILL: nothing after it happens."""


@dataclass
class Run:
    """A run's folder; each `submit` is that of a new process, which knows what the folder holds."""

    host: Host
    data: Path
    path: Path
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        Record("openai", "https://a.b/v1", REQUEST, {}).save(self.path)

    @property
    def record(self) -> Record:
        return load(self.path)

    def submit(self, around_save: Callable[[], None] = lambda: None) -> Job:
        record = self.record

        def save() -> None:
            around_save()
            record.save(self.path)
            around_save()

        return submit(self.host, record, self.data, save, self.told.append)


@pytest.fixture
def run(host: Host, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(module, "SETTLE", 0.05)
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.01)
    monkeypatch.setattr(module, "BACKOFF", 0.01)
    return Run(host, data, tmp_path / "job.json")


def test_a_file_and_a_job_are_sent_and_recorded(service: Service, run: Run) -> None:
    job = run.submit()
    assert service.calls == ["upload", "create"]
    assert service.jobs[0]["training_file"] == service.files[0]["id"]
    assert service.files[0]["filename"] == "needle-1.jsonl"
    assert (run.record.file, run.record.job) == (service.files[0]["id"], job)


def test_what_was_sent_is_not_sent_again(service: Service, run: Run) -> None:
    job = run.submit()
    assert run.submit() == job
    assert service.calls == ["upload", "create"]


@pytest.mark.parametrize("faults", [[LOST], [GARBAGE], [LOST, CLOSED], [error(500)], [error(503), LOST], [error(429)]])
@pytest.mark.parametrize("operation", ["upload", "create"])
def test_whatever_goes_wrong_there_is_one_job(service: Service, run: Run, operation: str, faults: list[Fault]) -> None:
    service.faults[operation].extend(faults)
    job = run.submit()
    assert [each["id"] for each in service.jobs] == [job.id]
    assert len(service.files) == 1


def test_a_job_that_is_listed_late_is_waited_for(service: Service, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE", 5)
    service.faults["create"].append(LOST)
    late = [Fault(200, '{"data": []}')] * 3
    service.faults["jobs"].extend(late)
    job = run.submit()
    assert service.calls == ["upload", "create", "jobs", "jobs", "jobs", "jobs"]
    assert [each["id"] for each in service.jobs] == [job.id]
    assert any("needle-1 had no answer. Waiting 5 s" in line for line in run.told)


def test_without_a_list_nothing_is_sent_again(service: Service, run: Run) -> None:
    service.faults["create"].append(LOST)
    service.faults["jobs"].append(error(403, "not for you"))
    with pytest.raises(
        UserError, match=r"not for you\. A job was requested before and may exist.*look there for needle-1"
    ):
        run.submit()
    assert len(service.jobs) == 1
    assert run.submit().id == service.jobs[0]["id"]
    assert service.calls.count("create") == 1


def test_a_host_that_does_not_say_what_its_jobs_train_on_gets_no_second_request(service: Service, run: Run) -> None:
    service.faults["create"].append(LOST)
    service.faults["jobs"].append(Fault(200, '{"data": [{"id": "job-9", "status": "queued"}]}'))
    with pytest.raises(UserError, match="may exist"):
        run.submit()
    assert service.calls.count("create") == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_ends_it_at_once_and_the_next_call_is_free_to_send(service: Service, run: Run, status: int) -> None:
    service.faults["create"].append(error(status, "no"))
    with pytest.raises(RemoteError, match=str(status)):
        run.submit()
    assert run.record.job_sent is None
    run.submit()
    assert service.calls == ["upload", "create", "create"]


def test_a_refused_file_is_not_looked_for(service: Service, run: Run) -> None:
    service.faults["upload"].append(error(400, "no"))
    with pytest.raises(RemoteError, match="400"):
        run.submit()
    assert run.record.file_sent is None
    run.submit()
    assert service.calls == ["upload", "upload", "create"]


def test_a_request_without_answer_is_waited_for_from_its_end(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It took longer than a request that arrived takes to be listed, as where the machine slept meanwhile.
    monkeypatch.setattr(module, "SETTLE", 2)
    service.faults["create"].append(dataclasses.replace(LOST, hang=2.5))
    service.faults["jobs"].append(Fault(200, '{"data": []}'))
    run.submit()
    assert len(service.jobs) == service.calls.count("create") == 1


def test_a_limit_that_does_not_pass_ends_it_after_some_attempts(service: Service, run: Run) -> None:
    service.faults["create"].extend([error(429, "slow")] * module.ATTEMPTS)
    with pytest.raises(RemoteError, match="slow"):
        run.submit()
    assert service.calls.count("create") == module.ATTEMPTS
    assert not service.jobs
    assert run.submit().id == "job-0"


def test_of_two_jobs_the_older_is_followed_and_the_other_named(service: Service, run: Run) -> None:
    service.faults["create"].append(
        Fault(accept=True, then=lambda: service.do("create", "", {}, service.bodies[-1][1]))
    )
    assert run.submit().id == "job-0"
    assert any("has 2 jobs of this run; it goes on with job-0. Cancel there: job-1" in line for line in run.told)


def boundaries(host: Host, run: Run, stop: int) -> int:
    """Submit, killed at the boundary of a number: before or after a record, before or after a call. Return how many."""
    passed = 0

    def boundary() -> None:
        nonlocal passed
        passed += 1
        if passed == stop:
            raise Killed

    class Host_:
        def __getattr__(self, name: str) -> object:
            method = getattr(host, name)

            def call(*arguments: object) -> object:
                boundary()
                answer = method(*arguments)
                boundary()
                return answer

            return call

    run.host = Host_()  # type: ignore[assignment]
    try:
        run.submit(boundary)
    finally:
        run.host = host
    return passed


@pytest.mark.parametrize("stop", range(1, 13))
def test_killed_between_any_record_and_any_call_there_is_one_job(
    service: Service, host: Host, run: Run, stop: int
) -> None:
    with pytest.raises(Killed):
        boundaries(host, run, stop)
    sent = time.time()
    job = run.submit()
    assert [each["id"] for each in service.jobs] == [job.id]
    assert run.record.job == job
    assert time.time() - sent < 2


def test_those_are_all_boundaries(service: Service, host: Host, run: Run) -> None:
    assert boundaries(host, run, stop=0) == 12
