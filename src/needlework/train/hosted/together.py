"""Together's finetuning API, called with the `openai` client, as its other APIs can be.

https://docs.together.ai/reference/post-fine-tunes
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework.remote import explained
from needlework.train.hosted.api import PURPOSE, Event, Job, Request, checked, entries, event, file_of, is_ours, whole
from needlework.visible import visible

if TYPE_CHECKING:
    from openai import OpenAI


class TogetherHost:
    """Together."""

    def __init__(self, client: OpenAI) -> None:
        self.client = client

    def upload(self, path: Path, name: str) -> str:
        fields = {"purpose": PURPOSE, "file_name": name, "file_type": "jsonl"}
        with path.open("rb") as file:
            answer = self._post("/files/upload", fields, files={"file": (name, file)})
        return str(checked(self.client, answer, "id")["id"])

    def find_file(self, name: str) -> str | None:
        return file_of(self.client, entries(self.client, self._get("/files")), name)

    def create(self, request: Request, file: str) -> Job:
        rank = request.lora_rank
        body = {
            "model": request.model,
            "training_file": file,
            "suffix": request.key,
            "n_epochs": request.epochs,
            "learning_rate": request.learning_rate,
            "random_seed": request.seed,
            # As our own LoRA scales it.
            "training_type": {"type": "Lora", "lora_r": rank, "lora_alpha": 2 * rank} if rank else {"type": "Full"},
            "training_method": {"method": "sft", "train_on_inputs": False},
        }
        return self._job(self._post("/fine-tunes", body))

    def find_jobs(self, key: str, file: str) -> list[Job]:
        jobs = entries(self.client, self._get("/fine-tunes"))
        return [self._job(job) for job in jobs if is_ours(self.client, job, key, file)]

    def retrieve(self, id: str) -> Job:
        return self._job(self._get(f"/fine-tunes/{id}"))

    def cancel(self, id: str) -> Job:
        # It may be asked again, and so with the client's retries.
        with explained(self.client):
            self.client.post(f"/fine-tunes/{id}/cancel", cast_to=object)
        return self.retrieve(id)

    def events(self, id: str) -> Iterator[Event]:
        found = entries(self.client, self._get(f"/fine-tunes/{id}/events"))
        for entry in sorted(found, key=lambda each: str(each.get("created_at")), reverse=True):
            yield event(self.client, entry, entry)

    def _get(self, path: str) -> object:
        with explained(self.client):
            return self.client.get(path, cast_to=object)

    def _post(self, path: str, body: object, files: Any = None) -> object:
        headers = {"Content-Type": "multipart/form-data"} if files else {}
        with explained(self.client):
            return self.client.post(
                path, cast_to=object, body=body, files=files, options={"max_retries": 0, "headers": headers}
            )

    def _job(self, answer: object) -> Job:
        job = checked(self.client, answer, "id", "status")
        made = Job(visible(job["id"]), visible(job["status"]), tokens=whole(job.get("token_count")))
        # Its name is there from the beginning, the model itself not before the end.
        if made.state != "succeeded":
            return made
        return Job(
            made.id, made.status, checked(self.client, job, "model_output_name")["model_output_name"], "", made.tokens
        )
