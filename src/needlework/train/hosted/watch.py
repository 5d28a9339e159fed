"""Following a hosted job until it ends."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

from needlework.errors import DataError
from needlework.remote import RemoteError
from needlework.storage import write_text
from needlework.train.hosted.api import Event, Host, Job

POLL = 10.0
"""Seconds between two looks at the job."""
PATIENCE = 30
"""Looks that may fail in a row: five minutes, not counting the client's own retries."""


def follow(
    host: Host,
    id: str,
    log: Path,
    update: Callable[[Job], object],
    tell: Callable[[str], None],
    report: Callable[[int, int, str], None],
) -> Job:
    """Look at a job until it has ended, and append its events to a file as they come.

    Args:
        host: Where the job is.
        id: The job's id.
        log: JSON, one event a line; those that are there are not shown again.
        update: Called with the job at each look.
        tell: Shows a line.
        report: Called with step, steps and a note.

    Raises:
        RemoteError: If the host refuses, or fails for too long.
    """
    known, failures, excuse = _recover(log), 0, ""

    def show() -> None:
        nonlocal excuse
        try:
            for event in _news(host, id, known, log):
                if event.step is not None and event.steps is not None:
                    report(event.step, event.steps, event.message)
                else:
                    tell(f"  {event.message}")
            excuse = ""
        except RemoteError as error:
            # Events are only shown: a host that keeps none, or fails to list them, still has the job.
            if str(error) != excuse:
                tell(excuse := str(error))

    while True:
        try:
            job = host.retrieve(id)
            update(job)
            failures = 0
        except RemoteError as error:
            failures += 1
            if failures > PATIENCE or (error.refused and error.wait is None):
                raise
            tell(f"{error}")
        else:
            show()
            if job.state != "running":
                return job
        time.sleep(POLL)


def _recover(log: Path) -> set[str]:
    """Return the ids of the events in a log, and drop a last line that a kill cut off."""
    if not log.exists():
        return set()
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    try:
        known = {json.loads(line)["id"] for line in whole}
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{log} is damaged. Delete it: the host tells of all events again.") from None
    write_text(log, "".join(whole))
    return known


def _news(host: Host, id: str, known: set[str], log: Path) -> list[Event]:
    """Append the events that are not known to the log and return them, the oldest first."""
    news: list[Event] = []
    for event in host.events(id):
        if event.id in known:
            break
        news.insert(0, event)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(dataclasses.asdict(event)) + "\n" for event in news)
    known.update(event.id for event in news)
    return news
