"""What happens to a run after it was submitted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from needlework import hosted
from needlework.benchmark_settings import Evaluate, General
from needlework.errors import UserError
from needlework.recipe import Recipe
from tests.hosting import Service
from tests.submitting import Confirm, submit


def test_the_status_is_asked_and_noted(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    submit(tiny, tmp_path, service)
    service.end("succeeded")
    job = hosted.status(tmp_path)
    assert (job.state, job.tokens) == ("succeeded", 1234)
    assert json.loads((tmp_path / "hosted/job.json").read_text())["job"]["model"] == job.model


def test_a_job_is_cancelled_unless_it_has_ended(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    submit(tiny, tmp_path, service)
    assert hosted.cancel(tmp_path).state == "cancelled"
    with pytest.raises(UserError, match="has ended already, with the status cancelled"):
        hosted.cancel(tmp_path)
    assert service.calls.count("cancel") == 1


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        ("failed", "The file is bad.", r"ended with the status failed: The file is bad\.$"),
        ("cancelled", "", r"ended with the status cancelled: the host gives no reason\.$"),
    ],
)
def test_a_job_that_failed_or_was_cancelled_has_no_model(
    service: Service, tiny: Recipe, tmp_path: Path, status: str, reason: str, message: str
) -> None:
    submit(tiny, tmp_path, service)
    service.jobs[0] |= {"status": status, "error": {"message": reason}}
    with pytest.raises(UserError, match=message):
        hosted.wait(tmp_path)
    with pytest.raises(UserError, match=message):
        hosted.evaluate(tmp_path, "after", Confirm())


def test_a_run_whose_job_failed_is_not_submitted_again(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    submit(tiny, tmp_path, service)
    service.end("failed")
    hosted.status(tmp_path)
    with pytest.raises(UserError, match=r"ended with the status failed\. Give another --output"):
        submit(tiny, tmp_path, service)
    assert len(service.jobs) == 1


def test_a_model_that_is_not_there_yet_is_not_asked(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no hosted job"):
        hosted.evaluate(tmp_path, "after", Confirm())
    with pytest.raises(UserError, match="nothing was sent"):
        submit(tiny, tmp_path, service, Confirm(agree=False))
    with pytest.raises(UserError, match="has no job yet"):
        hosted.evaluate(tmp_path, "after", Confirm())
    submit(tiny, tmp_path, service)
    with pytest.raises(UserError, match=r"has not ended \(validating_files\)"):
        hosted.evaluate(tmp_path, "after", Confirm())


def test_a_model_served_under_another_name_is_asked_by_that(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    submit(tiny, tmp_path, service)
    service.end("succeeded")
    hosted.evaluate(tmp_path, "after", Confirm(), model="my-deployment")
    assert {body["model"] for operation, body in service.bodies if operation == "chat"} == {"my-deployment"}
    summary = json.loads((tmp_path / "after/summary.json").read_text())
    assert (summary["model"], summary["tokenizer"]) == ("my-deployment", tiny.model.name)
    assert {entry["answered_by"]["backend"] for entry in summary["benchmarks"].values()} == {"openai"}


def test_without_agreement_no_prompt_is_sent(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    submit(tiny, tmp_path, service)
    with pytest.raises(UserError, match="nothing was sent"):
        hosted.evaluate(tmp_path, "before", Confirm(agree=False))
    assert "chat" not in service.calls


def test_benchmarks_that_need_weights_are_refused(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    submit(tiny.model_copy(update={"evaluate": Evaluate(general=General())}), tmp_path, service)
    with pytest.raises(UserError, match="general needs the weights of a model, and a server only gives"):
        hosted.evaluate(tmp_path, "before", Confirm())
