"""What a run knows of its hosted job. It is written before and after each call that changes something there."""

from __future__ import annotations

import dataclasses
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needlework.errors import DataError, UserError
from needlework.storage import flush, write_json
from needlework.train.hosted.api import Job, Request


def new_key() -> str:
    """Return a unique name for a job, short enough for every host."""
    return f"needle-{secrets.token_hex(5)}"


@dataclass
class Record:
    """A run's hosted job. A call that was sent, and of which nothing came back, may have had its effect."""

    host: str
    base_url: str
    request: Request
    estimate: dict[str, Any]
    """What was shown to the user before anything was sent."""
    agreed: bool = False
    """Whether the user agreed to it."""
    file_sent: float | None = None
    """When the file was last sent, in seconds since 1970; None where it certainly never arrived."""
    file: str | None = None
    """The file's id at the host."""
    job_sent: float | None = None
    """As `file_sent`, of the request for the job."""
    job: Job | None = None

    def save(self, path: Path) -> None:
        """Write the record. It is on the disk when this returns: what is sent next must outlast a power failure."""
        write_json(path, dataclasses.asdict(self))
        flush(path)


def load(path: Path) -> Record:
    """Read a record.

    Raises:
        UserError: If there is none.
        DataError: If the file is not one.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        request, job = Request(**values.pop("request")), values.pop("job")
        return Record(**values, request=request, job=Job(**job) if job else None)
    except FileNotFoundError:
        raise UserError(
            f"{path.parent.parent} holds no hosted job. Begin one: needlework hosted submit RECIPE --output DIR."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path} is damaged; it names the hosted job, so look for that at the host.") from None
