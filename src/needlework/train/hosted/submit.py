"""Sending a file and a job to a host, each once, whatever fails on the way.

Before a request is sent, the record says so; after it was answered, the record says what came back. If
nothing came back (no answer, an error of the server, a kill) the request may have arrived all the same.
Then the host is asked for what has the run's key, and only if there is nothing is the request sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from needlework.errors import UserError
from needlework.remote import TIMEOUT, RemoteError
from needlework.train.hosted.api import Host, Job
from needlework.train.hosted.record import Record

ATTEMPTS = 5
SETTLE = TIMEOUT + 60
"""Seconds after which a request that had no answer and is not listed did not arrive."""
LOOK_AGAIN = 10.0
"""Seconds between two looks at the host's list."""
BACKOFF = 2.0
"""Seconds before the second attempt, where the host does not say; doubled for each after it."""

Save = Callable[[], None]
Tell = Callable[[str], None]


def submit(host: Host, record: Record, data: Path, save: Save, tell: Tell) -> Job:
    """Upload the training data and create the job, or find those of an earlier call.

    Args:
        host: Where.
        record: What earlier calls did; changed on the way.
        data: The file of training data.
        save: Writes the record.
        tell: Shows the user a line.

    Raises:
        UserError: If the host refuses, fails again and again, or cannot say whether a request arrived.
    """
    name = f"{record.request.key}.jsonl"

    def upload() -> None:
        if record.file_sent is not None:
            # A file costs nothing: if it is not listed yet and comes twice, no harm is done.
            record.file = host.find_file(name)
        if record.file is None:
            record.file_sent = time.time()
            save()
            try:
                record.file = host.upload(data, name)
            except RemoteError as error:
                if error.refused:
                    record.file_sent = None
                    save()
                raise
        save()

    def create() -> None:
        assert record.file is not None
        if record.job_sent is not None:
            record.job = _arrived(host, record, tell)
        if record.job is None:
            record.job_sent = time.time()
            save()
            try:
                record.job = host.create(record.request, record.file)
            except RemoteError as error:
                # What had no answer may have left this machine only just now.
                record.job_sent = None if error.refused else time.time()
                save()
                raise
        save()

    if record.file is None:
        _persist(upload, tell)
    if record.job is None:
        _persist(create, tell)
    assert record.job is not None
    return record.job


def _persist(step: Callable[[], None], tell: Tell) -> None:
    """Take a step again where it failed for reasons that pass; it finds out itself what the last one did."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return step()
        except RemoteError as error:
            if attempt == ATTEMPTS or (error.refused and error.wait is None):
                raise
            wait = BACKOFF * 2 ** (attempt - 1) if error.wait is None else error.wait
            tell(f"{error} Attempt {attempt} of {ATTEMPTS}; the next in {wait:.0f} s.")
            time.sleep(wait)


def _arrived(host: Host, record: Record, tell: Tell) -> Job | None:
    """Return the job of a request that had no answer, or None once it is certain that there is none.

    Raises:
        UserError: If the host does not say.
    """
    assert record.file is not None
    assert record.job_sent is not None
    key, announced = record.request.key, False
    while True:
        try:
            jobs = host.find_jobs(key, record.file)
        except RemoteError as error:
            raise UserError(
                f"{error} A job was requested before and may exist, so no other is until the host lists its jobs: "
                f"run the same command later, or look there for {key}."
            ) from None
        if len(jobs) > 1:
            others = ", ".join(job.id for job in jobs[:-1])
            tell(f"The host has {len(jobs)} jobs of this run; it goes on with {jobs[-1].id}. Cancel there: {others}.")
        if jobs:
            # Lists begin with the newest.
            return jobs[-1]
        left = min(record.job_sent + SETTLE - time.time(), SETTLE)
        if left <= 0:
            return None
        if not announced:
            tell(f"A request for the job {key} had no answer. Waiting {left:.0f} s to see whether it arrived.")
            announced = True
        time.sleep(min(LOOK_AGAIN, left))
