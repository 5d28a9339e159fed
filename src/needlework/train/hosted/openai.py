"""OpenAI's finetuning API, which Azure and others share.

https://platform.openai.com/docs/api-reference/fine-tuning
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework.remote import explained, malformed, without_key
from needlework.train.hosted.api import PURPOSE, Event, Job, Request, checked, entries, event, file_of, is_ours, whole
from needlework.visible import visible

if TYPE_CHECKING:
    from openai import OpenAI

PAGE = 100
"""Entries of a list asked for at once."""


class OpenAIHost:
    """A host with OpenAI's API."""

    def __init__(self, client: OpenAI) -> None:
        self.client = client
        self._once = client.with_options(max_retries=0)

    def upload(self, path: Path, name: str) -> str:
        with path.open("rb") as file:
            return self._id(lambda: self._once.files.with_raw_response.create(file=(name, file), purpose=PURPOSE))

    def find_file(self, name: str) -> str | None:
        files = self.client.files.with_raw_response
        return file_of(self.client, self._list(lambda after: files.list(purpose=PURPOSE, limit=PAGE, **after)), name)

    def create(self, request: Request, file: str) -> Job:
        return self._job(
            lambda: self._once.fine_tuning.jobs.with_raw_response.create(
                model=request.model,
                training_file=file,
                # Of all ways to mark a job, this is the one that hosts share.
                suffix=request.key,
                seed=request.seed % 2**31,
                # Newer is `method`, which not all hosts know.
                hyperparameters={"n_epochs": request.epochs},
            )
        )

    def find_jobs(self, key: str, file: str) -> list[Job]:
        jobs = self.client.fine_tuning.jobs.with_raw_response
        found = self._list(lambda after: jobs.list(limit=PAGE, **after))
        return [_job(self.client, entry) for entry in found if is_ours(self.client, entry, key, file)]

    def retrieve(self, id: str) -> Job:
        return self._job(lambda: self.client.fine_tuning.jobs.with_raw_response.retrieve(id))

    def cancel(self, id: str) -> Job:
        return self._job(lambda: self.client.fine_tuning.jobs.with_raw_response.cancel(id))

    def events(self, id: str) -> Iterator[Event]:
        jobs = self.client.fine_tuning.jobs.with_raw_response
        for entry in self._list(lambda after: jobs.list_events(id, limit=PAGE, **after)):
            yield event(self.client, entry, entry.get("data"))

    def _answer(self, call: Callable[[], Any]) -> object:
        with explained(self.client):
            answer: object = call().http_response.json()
        return answer

    def _id(self, call: Callable[[], Any]) -> str:
        return str(checked(self.client, self._answer(call), "id")["id"])

    def _job(self, call: Callable[[], Any]) -> Job:
        return _job(self.client, self._answer(call))

    def _list(self, fetch: Callable[[dict[str, Any]], Any]) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list in pages, each asked for with the last id of the one before."""
        last: dict[str, Any] = {}
        while True:
            page = self._answer(partial(fetch, last))
            found = entries(self.client, page)
            yield from found
            if not found or not checked(self.client, page).get("has_more"):
                return
            after = {"after": checked(self.client, found[-1], "id")["id"]}
            if after == last:
                raise malformed(self.client, "the pages of a list repeat")
            last = after


def _job(client: OpenAI, answer: object) -> Job:
    job = checked(client, answer, "id", "status")
    error = job.get("error")
    reason = visible(without_key(str(error.get("message") or ""), client)) if isinstance(error, dict) else ""
    model = checked(client, job, "fine_tuned_model")["fine_tuned_model"] if job.get("fine_tuned_model") else None
    return Job(visible(job["id"]), visible(job["status"]), model, reason, whole(job.get("trained_tokens")))
