from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from needlework.train.hosted.api import Host
from tests.hosting import Service
from tests.train.hosted.conftest import REQUEST

pytestmark = pytest.mark.parametrize("service", ["together"], indirect=True)


def test_an_upload_has_the_documented_fields(service: Service, host: Host, data: Path) -> None:
    host.upload(data, "needle-1.jsonl")
    (_, body), *_ = service.bodies
    assert {name: body[name] for name in ("purpose", "file_name", "file_type")} == {
        "purpose": "fine-tune", "file_name": "needle-1.jsonl", "file_type": "jsonl"
    }  # fmt: skip


def test_a_job_is_asked_for_as_documented(service: Service, host: Host) -> None:
    host.create(REQUEST, "file-0")
    assert service.bodies[-1] == (
        "create",
        {
            "model": "base-model",
            "training_file": "file-0",
            "suffix": "needle-1",
            "n_epochs": 3,
            "learning_rate": 1e-5,
            "random_seed": 5,
            "training_type": {"type": "Lora", "lora_r": 16, "lora_alpha": 32},
            "training_method": {"method": "sft", "train_on_inputs": False},
        },
    )


def test_all_weights_are_trained_where_no_rank_is_given(service: Service, host: Host) -> None:
    host.create(replace(REQUEST, lora_rank=None), "file-0")
    assert service.jobs[0]["training_type"] == {"type": "Full"}


def test_the_model_counts_only_once_the_job_has_ended(service: Service, host: Host) -> None:
    id = host.create(REQUEST, "file-0").id
    assert service.jobs[0]["model_output_name"]
    assert host.retrieve(id).model is None
    service.jobs[0] |= {"status": "completed", "token_count": 99}
    job = host.retrieve(id)
    assert (job.model, job.tokens, job.state) == ("me/base-model-needle-1", 99, "succeeded")


def test_events_that_tell_of_no_step_have_none(service: Service, host: Host) -> None:
    id = host.create(REQUEST, "file-0").id
    times = ("2026-01-01", "2026-01-02")
    for time, step, total in zip(times, (0, 3), (0, 9), strict=True):
        service.happened[id].append({"created_at": time, "message": "x", "step": step, "total_steps": total})
    assert [(event.step, event.steps) for event in host.events(id)] == [(3, 9), (None, None)]
