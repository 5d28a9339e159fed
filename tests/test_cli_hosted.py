from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from needlework import hosted, pipeline
from needlework.errors import UserError
from needlework.hosted import Offer
from needlework.recipe import Recipe
from needlework.train.hosted.api import Job
from tests.test_cli import call

Called = list[tuple[Any, ...]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Called:
    """Stand in for the stages, and keep what they are called with."""
    calls: Called = []

    def submit(recipe: Recipe, output: Path, offer: Offer, confirm: hosted.Confirm, progress: object) -> Job:
        confirm("About $1.00. Send it?")
        calls.append((recipe.hosted.model, output, offer))
        return Job("job-1", "queued")

    def evaluate(output: Path, side: str, confirm: hosted.Confirm, progress: object, **options: Any) -> None:
        confirm("8 prompts. Send them?")
        calls.append((output, side, options))

    monkeypatch.setattr(hosted, "submit", submit)
    monkeypatch.setattr(hosted, "evaluate", evaluate)
    monkeypatch.setattr(hosted, "status", lambda run: Job("job-1", "succeeded", "ft:model", "", 1234))
    monkeypatch.setattr(hosted, "wait", lambda run, progress: "ft:model")
    monkeypatch.setattr(hosted, "cancel", lambda run: Job("job-1", "cancelled"))
    monkeypatch.setattr("needlework.interrupt.exit_on_interrupt", lambda message: None)
    monkeypatch.chdir(tmp_path)
    return calls


def test_the_papers_recipe_is_submitted_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], called: Called
) -> None:
    arguments = ["--price", "8", "--yes", "--base-url", "https://me.openai.azure.com/openai/v1/"]
    assert call(monkeypatch, "hosted", "submit", "gpt-3.5-turbo", *arguments) == 0
    offer = Offer("openai", "https://me.openai.azure.com/openai/v1/", 8.0, conversation=False)
    assert called == [("gpt-3.5-turbo-1106", Path("runs/gpt-3.5-turbo"), offer)]
    output = capsys.readouterr()
    assert output.out == "Job: job-1, queued\nFollow it: needlework hosted wait runs/gpt-3.5-turbo\n"
    assert "About $1.00. Send it? Yes." in output.err


def test_without_a_terminal_and_without_yes_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], called: Called
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert call(monkeypatch, "hosted", "submit", "gpt-3.5-turbo", "--price", "8") == 2
    assert "About $1.00. Send it? Nothing was sent: add --yes to send it." in capsys.readouterr().err
    assert not called


@pytest.mark.parametrize(("answer", "code", "sent"), [(True, 0, 1), (False, 2, 0)])
def test_on_a_terminal_the_user_is_asked(
    monkeypatch: pytest.MonkeyPatch, called: Called, answer: bool, code: int, sent: int
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda question, err: answer)
    assert call(monkeypatch, "hosted", "submit", "gpt-3.5-turbo", "--price", "8") == code
    assert len(called) == sent


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("status", "Job: job-1, succeeded, model ft:model, 1,234 tokens\n"),
        ("wait", "Model: ft:model\nMeasure it: needlework hosted evaluate run after\n"),
        ("cancel", "Job: job-1, cancelled\n"),
    ],
)
def test_what_a_job_is_or_became_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], called: Called, command: str, output: str
) -> None:
    assert call(monkeypatch, "hosted", command, "run") == 0
    assert capsys.readouterr().out == output


def test_a_side_is_asked_with_the_users_settings(monkeypatch: pytest.MonkeyPatch, called: Called) -> None:
    options = ("--yes", "--model", "d", "--concurrency", "2", "--skip-too-long")
    assert call(monkeypatch, "hosted", "evaluate", "run", "after", *options) == 0
    assert called == [(Path("run"), "after", {"model": "d", "concurrency": 2, "skip_too_long": True})]


def test_with_both_sides_there_they_are_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], called: Called
) -> None:
    for side in ("before", "after"):
        (Path("run") / side).mkdir(parents=True)
        (Path("run") / side / "done").touch()
    compared: list[tuple[Path, ...]] = []
    monkeypatch.setattr(pipeline, "write_comparison", lambda *folders: compared.append(folders))
    monkeypatch.setattr("needlework.cli_hosted.print_comparison", lambda comparison: print("the table"))
    monkeypatch.setattr(pipeline, "report", lambda run, progress: run / "report.html")
    assert call(monkeypatch, "hosted", "evaluate", "run", "before", "--yes") == 0
    assert compared == [(Path("run/before"), Path("run/after"), Path("run"))]
    assert "the table\nReport: run/report.html" in capsys.readouterr().out


def test_another_side_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], called: Called
) -> None:
    assert call(monkeypatch, "hosted", "evaluate", "run", "both") == 2
    assert "no side 'both'. Known: before, after" in capsys.readouterr().err


def test_an_error_of_the_host_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], called: Called
) -> None:
    def refuse(run: Path) -> Job:
        raise UserError("api.openai.com does not accept the key (401).")

    monkeypatch.setattr(hosted, "status", refuse)
    assert call(monkeypatch, "hosted", "status", "run") == 2
    assert capsys.readouterr().err == "needlework: api.openai.com does not accept the key (401).\n"
