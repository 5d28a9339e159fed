from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosting import KEY, Service, serving
from tests.test_cli import call

FEW = ["--benchmarks=knowledge", "--set=evaluate.knowledge.facts=5"]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as service:
        yield service


def test_the_chosen_benchmarks_are_asked_and_later_ones_added(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    output = f"--output={tmp_path / 'e'}"
    assert call(monkeypatch, "evaluate", str(model_folder), *FEW, output) == 0
    assert "n = 5" in capsys.readouterr().out
    small = ["mdqa.documents=2", "mdqa.positions=[1]", "mdqa.paragraphs=2", "mdqa.max_new_tokens=4"]
    sets = [f"--set=evaluate.{each}" for each in small]
    assert call(monkeypatch, "evaluate", str(model_folder), "--benchmarks=mdqa", *sets, output) == 0
    said, *lines = capsys.readouterr().out.splitlines()
    assert said == "Benchmarks, with the settings of the recipe smollm2-135m: mdqa"
    assert [line.split()[0] for line in lines] == ["knowledge", "mdqa"]
    found = sorted(path.name for path in (tmp_path / "e").glob("predictions*"))
    assert found == ["predictions-knowledge.jsonl", "predictions-mdqa.jsonl"]


def test_a_server_is_asked_and_the_cost_is_shown(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    model_folder: Path,
    service: Service,
) -> None:
    service.reply = lambda body: "one two"
    options = [f"--base-url={service.url}", f"--tokenizer={model_folder}", "--price=1000,2000", "--concurrency=2"]
    assert call(monkeypatch, "evaluate", "served", *FEW, *options, f"--output={tmp_path / 'e'}") == 0
    summary = json.loads((tmp_path / "e/summary.json").read_text())
    read = summary["benchmarks"]["knowledge"]["prompt_tokens"]
    line = f"{read:,} in, 10 out: ${(read * 1000 + 10 * 2000) / 1e6:,.2f}"
    assert line in capsys.readouterr().out
    assert summary["tokenizer"] == str(model_folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--concurrency=2"], "--concurrency goes with --base-url"),
        (["--price=1,2"], "--price goes with --base-url"),
        (["--base=other"], "--base is for drift, which is not among the benchmarks"),
        (["--backend=tgi"], "there is no backend 'tgi'. Known: hf, vllm"),
        (["--backend=vllm", "--base-url=http://localhost:1/v1"], "leave out --backend vllm"),
        (["--price=cheap", "--base-url=http://localhost:1/v1"], "--price 'cheap' should be the dollars"),
        (["--base-url=localhost:8000"], "should look like https://"),
        (["--benchmarks=kvv"], "no benchmark 'kvv'. Known: kv, mdqa"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    assert call(monkeypatch, "evaluate", "m", *arguments, f"--output={tmp_path / 'e'}") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


def test_prompts_that_are_too_long_are_an_error_or_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    small = ["kv.lengths=[400,5000]", "kv.depths=[0]", "kv.haystacks=1"]
    options = ["--benchmarks=kv", *(f"--set=evaluate.{each}" for each in small), f"--output={tmp_path / 'e'}"]
    assert call(monkeypatch, "evaluate", str(model_folder), *options) == 2
    error = capsys.readouterr().err
    assert "32 tokens, but the model's context is 4096" in error
    assert "--skip-too-long" in error
    assert call(monkeypatch, "evaluate", str(model_folder), *options, "--skip-too-long") == 0
    assert "n = 1, 1 too long and skipped" in capsys.readouterr().out
