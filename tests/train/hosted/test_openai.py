from __future__ import annotations

import json
from pathlib import Path

import pytest

from needlework.remote import RemoteError
from needlework.train.hosted.api import Host
from needlework.train.hosted.openai import OpenAIHost
from tests.hosting import KEY, Fault, Service
from tests.train.hosted.conftest import REQUEST

pytestmark = pytest.mark.parametrize("service", ["openai"], indirect=True)


def test_a_job_is_asked_for_as_documented(service: Service, host: Host) -> None:
    host.create(REQUEST, "file-0")
    assert service.bodies[-1] == (
        "create",
        {
            "model": "base-model",
            "training_file": "file-0",
            "suffix": "needle-1",
            "seed": 5,
            "hyperparameters": {"n_epochs": 3},
        },
    )


def test_every_page_of_a_list_is_read(service: Service, host: Host, data: Path) -> None:
    for number in range(5):
        host.create(REQUEST, f"file-{number}")
    assert len(host.find_jobs("needle-1", "")) == 5
    assert service.calls.count("jobs") == 3


def test_a_list_whose_pages_repeat_is_no_end(service: Service, host: OpenAIHost) -> None:
    page = json.dumps({"data": [{"id": "job-1", "training_file": "f", "status": "queued"}], "has_more": True})
    service.faults["jobs"].extend([Fault(200, page)] * 3)
    with pytest.raises(RemoteError, match="the pages of a list repeat"):
        host.find_jobs("needle-1", "file-0")


def test_a_failed_job_says_why(service: Service, host: Host) -> None:
    id = host.create(REQUEST, "file-0").id
    service.jobs[0] |= {"status": "failed", "error": {"code": "x", "message": "The file is bad."}}
    assert host.retrieve(id).error == "The file is bad."


def test_what_a_host_says_is_made_safe_to_show(service: Service, host: Host) -> None:
    id = host.create(REQUEST, "file-0").id
    error = {"message": "\x1b[2JThe file is bad."}
    service.jobs[0] |= {"status": "failed", "error": error, "trained_tokens": "many"}
    job = host.retrieve(id)
    assert (job.error, job.tokens) == ("\N{SYMBOL FOR ESCAPE}[2JThe file is bad.", None)


def test_a_key_that_a_host_repeats_is_left_out(service: Service, host: Host) -> None:
    id = host.create(REQUEST, "file-0").id
    service.jobs[0] |= {"status": "failed", "error": {"message": f"upstream refused {KEY}; cut off it is {KEY[:14]}"}}
    assert host.retrieve(id).error == "upstream refused [key] cut off it is [key]"


def test_the_model_and_the_tokens_come_with_the_end(service: Service, host: Host) -> None:
    id = host.create(REQUEST, "file-0").id
    assert host.retrieve(id).model is None
    service.end("succeeded")
    job = host.retrieve(id)
    assert (job.model, job.tokens) == ("ft:base-model:needle-1", 1234)
