"""What the finetuning APIs of hosts have in common: requests, jobs, events, and how answers are checked.

The `openai` client builds its typed objects without checking them, so that a page which is no list would
read as no jobs at all. Answers are therefore taken as JSON and checked here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from needlework.remote import malformed, without_key
from needlework.visible import visible

if TYPE_CHECKING:
    from openai import OpenAI

PURPOSE: Literal["fine-tune"] = "fine-tune"

State = Literal["running", "succeeded", "failed", "cancelled"]
# OpenAI's words, Azure's and Together's; all others are those of a job under way.
STATES: dict[str, State] = {
    "succeeded": "succeeded",
    "completed": "succeeded",
    "failed": "failed",
    "error": "failed",
    "user_error": "failed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A finetuning as it is asked of a host."""

    key: str
    """Names the job, its file and its model; no other job has it."""
    model: str
    epochs: int
    seed: int
    learning_rate: float
    """AdamW's rate. OpenAI's API takes only a factor of its own choice, which is left alone."""
    lora_rank: int | None
    """None for all weights. OpenAI's API does not let one choose."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its host describes it."""

    id: str
    status: str
    """The host's own word, as it may be shown."""
    model: str | None = None
    """The finetuned model, once there is one."""
    error: str = ""
    tokens: int | None = None
    """Tokens to pay for, where the host says it."""

    @property
    def state(self) -> State:
        """What the status means."""
        return STATES.get(self.status, "running")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job."""

    id: str
    time: str
    message: str
    step: int | None
    steps: int | None


class Host(Protocol):
    """A host's API. Each method raises `RemoteError` where the host refuses, fails or is not reached."""

    def upload(self, path: Path, name: str) -> str:
        """Send a file, asking once, without retries, and return its id."""
        ...

    def find_file(self, name: str) -> str | None:
        """Return the id of the file of a name, if there is one."""
        ...

    def create(self, request: Request, file: str) -> Job:
        """Create a job, asking once, without retries."""
        ...

    def find_jobs(self, key: str, file: str) -> list[Job]:
        """Return the jobs that have a key in their names or train on a file."""
        ...

    def retrieve(self, id: str) -> Job:
        """Return the job as it is now."""
        ...

    def cancel(self, id: str) -> Job:
        """Cancel the job."""
        ...

    def events(self, id: str) -> Iterator[Event]:
        """Yield the job's events, the newest first."""
        ...


def checked(client: OpenAI, answer: object, *fields: str) -> dict[str, Any]:
    """Return an answer that is an object with text in the fields.

    Raises:
        RemoteError: If it is not.
    """
    if not isinstance(answer, dict):
        raise malformed(client, f"{type(answer).__name__} where an object should be")
    for field in fields:
        if not isinstance(answer.get(field), str) or not answer[field]:
            raise malformed(client, f"no {field!r}")
    return answer


def entries(client: OpenAI, page: object) -> list[dict[str, Any]]:
    """Return the entries of a list.

    Raises:
        RemoteError: If it is not one.
    """
    found = checked(client, page).get("data")
    if not isinstance(found, list):
        raise malformed(client, "no list in 'data'")
    return [checked(client, entry) for entry in found]


def file_of(client: OpenAI, files: Iterable[dict[str, Any]], name: str) -> str | None:
    """Return the id of the first of some files that has the name."""
    return next((checked(client, file, "id")["id"] for file in files if file.get("filename") == name), None)


def is_ours(client: OpenAI, job: dict[str, Any], key: str, file: str) -> bool:
    """Return whether a job has the key in its names or trains on the file.

    Raises:
        RemoteError: If the host does not say what its jobs train on: it could not say that none is ours.
    """
    return checked(client, job, "training_file")["training_file"] == file or key in json.dumps(job)


def event(client: OpenAI, entry: dict[str, Any], numbers: object) -> Event:
    """Return the event of an entry, whose steps may stand elsewhere in it."""
    step, steps = (whole(numbers.get(name)) if isinstance(numbers, dict) else None for name in ("step", "total_steps"))
    time = str(entry.get("created_at") or "")
    message = visible(without_key(str(entry.get("message") or ""), client))
    # Together gives all events numbers: 0 of 0 where they tell of no step.
    return Event(str(entry.get("id") or f"{time} {message}"), time, message, step if steps else None, steps or None)


def whole(value: object) -> int | None:
    """Return a value if it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
