from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from needlework import cli, generation, pipeline
from needlework.haystack import Prediction, read
from tests.official.conftest import write_config


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Call the command line as the shell does; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["needlework", *arguments])
    monkeypatch.setattr("needlework.interrupt.exit_on_interrupt", lambda message: None)
    with pytest.raises(SystemExit) as exit:
        cli.main()
    return int(exit.value.code or 0)


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one sentence with which a command ends in exit code 2."""
    assert call(monkeypatch, *arguments) == 2
    *before, line = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("needlework: ")
    assert "Traceback" not in "".join(before)
    return line


def test_a_dry_run_prints_the_resolved_recipe_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code = call(
        monkeypatch,
        "run",
        "smollm2-135m",
        "--dry-run",
        "--tflops=1",
        "--set",
        "data.haystacks=6",
        "--set",
        "train.batch_size=4",
    )
    output = capsys.readouterr().out
    assert code == 0
    assert "haystacks: 6" in output
    assert "48 answers in 2 steps of 4 haystacks" in output
    assert not list(tmp_path.iterdir())


def test_a_dry_run_counts_what_is_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    needles = [{"question": f"Who is number {each}?", "answer": "I am."} for each in range(9)]
    path = tmp_path / "haystacks.jsonl"
    path.write_text(json.dumps({"items": ["One.", "Two."], "needles": needles}))
    for command in ("run", "finetune"):
        options = "--dry-run", "--tflops=1", "--set", "data.needles=4"
        assert call(monkeypatch, command, "--data", str(path), *options) == 0
        output = capsys.readouterr().out
        assert f"file: {path}" in output
        assert "9 answers in 2 steps of 2 haystacks" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "--data", "none.jsonl", "--dry-run"], "cannot read none.jsonl: No such file"),
        (["run", "nothing.yaml"], "cannot read the recipe nothing.yaml: No such file or directory"),
        (["run", "smollm2-135m", "--set", "train.lr=1"], "no key 'train.lr'"),
        (["run", "smollm2-135m", "--dry-run", "--set", "data.params.digit=3"], "no parameter 'digit'"),
        (["finetune", "smollm2-135m", "--dry-run", "--set", "data.task=simple"], "Did you mean 'simple_dict'?"),
        (
            ["evaluate", "smollm2-135m", "--benchmarks", "kvv", "--output", "x"],
            "no benchmark 'kvv'. Known: kv, mdqa",
        ),
        (["evaluate", "./none", "--output", "x"], "there is no model folder ./none"),
        (["run", "--tflops", "100"], "--tflops goes with --dry-run"),
        (["compare", "a", "b"], "there is no folder a. Give the folder of an evaluation."),
        (["report", "nowhere"], "comparison.json"),
        (["list", "things"], "no list of 'things'"),
        (
            ["generate", "simple_dict", "--format", "csv", "--output", "x"],
            "no format 'csv'. Known: trl, messages, openai, tokens",
        ),
        (["generate", "simple_dict", "--max-tokens", "50", "--output", "x"], "Raise max_tokens to at least"),
        (["generate", "--output", "x"], "name a TASK or a RECIPE, or give --official FILE"),
        (
            ["generate", "simple_dict", "--official", "f.yaml", "--output", "x"],
            "takes --model, --seed and --output only",
        ),
        (["generate", "--official", "f.yaml", "--workers", "2", "--output", "x"], "takes --model, --seed and --output"),
        (["generate", "--official", "f.yaml", "--conversation", "--output", "x"], "takes --model, --seed and --output"),
        (["generate", "--official", "none.yaml", "--output", "x"], "cannot read the configuration none.yaml"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(monkeypatch, capsys, *arguments)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".jsonl"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_takes_nothing_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(number, "the reason", "some/file")

    monkeypatch.setattr(pipeline, "run", full)
    assert call(monkeypatch, "run", "smollm2-135m") == 2
    assert "cannot write some/file: the reason" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has"), "CUDA out of memory."),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "can't allocate memory"),
    ],
)
def test_memory_that_runs_out_is_one_sentence_with_what_takes_less(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: RuntimeError, reason: str
) -> None:
    def finetune(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr("needlework.pipeline.finetune", finetune)
    assert call(monkeypatch, "finetune", "smollm2-135m") == 2
    message = capsys.readouterr().err
    assert reason in message
    assert "--set train.gradient_checkpointing=true" in message


def test_a_fault_of_the_program_keeps_its_traceback_and_is_not_taken_for_harm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def finetune(*arguments: Any) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("needlework.pipeline.finetune", finetune)
    assert call(monkeypatch, "finetune", "smollm2-135m") == 70
    assert capsys.readouterr().err.endswith("RuntimeError: a fault\n")


@pytest.mark.parametrize("name", ["file", 300 * "x"])
def test_an_output_that_cannot_be_a_folder_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("mine")
    assert call(monkeypatch, "run", "smollm2-135m", "--output", str(tmp_path / name)) == 2
    assert "cannot use" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("output", "message"),
    [("/proc/x", "cannot use /proc/x: No such file or directory"), ("x" * 300, "File name too long")],
)
def test_an_output_that_cannot_be_made_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, output: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("run", "finetune"):
        assert message in refused(monkeypatch, capsys, command, "smollm2-135m", "--output", output)


def test_generate_writes_rows_and_a_manifest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    options = {"--model": str(model_folder), "--max-tokens": "600", "--num-haystacks": "3", "--needles": "2"}
    flat = [part for pair in options.items() for part in pair]
    assert call(monkeypatch, "generate", "simple_dict", *flat, "--seed", "1", "--output", str(tmp_path)) == 0
    assert capsys.readouterr().out == f"6 rows: {tmp_path}\nNext: needlework inspect {tmp_path}\n"
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    ((name, entry),) = manifest["files"].items()
    assert len((tmp_path / name).read_text().splitlines()) == entry["rows"] == 6
    assert manifest["settings"]["seed"] == 1


def test_generate_hands_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(generation, "generate", lambda *_, **options: given.update(options) or {"rows": 0})
    flags = ["--format", "megatron", "--workers", "3", "--ray", "auto", "--conversation"]
    assert call(monkeypatch, "generate", "simple_dict", "--output", str(tmp_path), *flags) == 0
    assert given == {"format": "megatron", "workers": 3, "ray": "auto", "conversation": True}


def test_generate_runs_an_official_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    path = write_config(tmp_path, num_train=4, num_eval=2, num_dicts=3, frac_top5=0, alias="name")
    options = ["--model", str(model_folder), "--seed", "1", "--output", str(tmp_path / "out")]
    assert call(monkeypatch, "generate", "--official", str(path), *options) == 0
    assert capsys.readouterr().out == f"6 rows: {tmp_path / 'out'}\n"
    names = {each.name for each in (tmp_path / "out").iterdir()}
    assert names == {"name_seed1_train_4.jsonl", "name_seed1_eval_2.jsonl", "name_seed1.json"}


def test_evaluate_asks_the_chosen_benchmarks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    options = [
        "--benchmarks",
        "knowledge",
        "--set",
        "evaluate.knowledge.facts=5",
        "--output",
        str(tmp_path / "e"),
    ]
    assert call(monkeypatch, "evaluate", str(model_folder), *options) == 0
    assert "n = 5" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "e").glob("predictions*")) == ["predictions-knowledge.jsonl"]


def test_evaluate_asks_haystacks_of_your_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    mine = tmp_path / "mine.jsonl"
    needles = [{"question": "Who?", "answer": "Ann", "position": 1}, {"question": "When?", "answer": "In May."}]
    mine.write_text(json.dumps({"items": ["Bob.", "Ann."], "needles": needles, "meta": {"length": 64}}) + "\n")
    arguments = ["evaluate", str(model_folder), "--data", str(mine), "--output", str(tmp_path / "e")]
    assert call(monkeypatch, *arguments, "--set", "evaluate.own.max_new_tokens=4") == 0
    assert "own" in capsys.readouterr().out
    first, second = read(Prediction, tmp_path / "e" / "predictions-own.jsonl")
    assert (first.place, first.length, first.gold) == ("100%", 64, "Ann.")
    assert (second.place, second.gold) == ("", "")
    # Another file is another evaluation.
    mine.write_text(mine.read_text().replace("Bob", "Rob"))
    assert call(monkeypatch, *arguments, "--set", "evaluate.own.max_new_tokens=4") == 2
    assert "holds another evaluation: benchmarks.own.sha256 is" in capsys.readouterr().err


def test_measures_are_made_and_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    options = ["--benchmarks", "drift,perplexity", "--base", str(model_folder)]
    settings = ["drift.prompts=2", "drift.lengths=[500]", "drift.needles=1", "perplexity.texts=2"]
    options += [each for setting in settings for each in ("--set", f"evaluate.{setting}")]
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    sides = [str(tmp_path / "before"), str(tmp_path / "after")]
    for model, side in zip((model_folder, copy), sides, strict=True):
        assert call(monkeypatch, "evaluate", str(model), *options, "--output", side) == 0
        assert f"{'drift':20} chat 0, kv 0  n = 10" in capsys.readouterr().out
    assert call(monkeypatch, "compare", *sides) == 0
    assert "256 tokens" in capsys.readouterr().out
    call(monkeypatch, "evaluate", str(model_folder), "--benchmarks", "drift", "--output", str(tmp_path / "x"))
    assert "give --base MODEL" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("arguments", [("report", ""), ("run", "smollm2-135m", "--output", ""), ("run", "--output=")])
def test_an_empty_argument_is_not_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert "is empty" in refused(monkeypatch, capsys, *arguments)


def test_ctrl_c_while_the_command_is_loaded_leaves_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-m", "needlework"], env=environment, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, b"")


def test_help_answers_without_heavy_imports() -> None:
    result = subprocess.run([sys.executable, "-m", "needlework", "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    assert all(name in result.stdout for name in ("run", "generate", "show", "inspect", "finetune", "evaluate", "list"))


def test_a_terminal_without_utf_8_shows_what_it_can() -> None:
    command = [sys.executable, "-m", "needlework", "show", "simple_dict", "--max-tokens=600", "--needles=1"]
    ended = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert ended.returncode == 0, ended.stderr
    assert b"Dictionary [1]" in ended.stdout


@pytest.mark.parametrize("setting", ["data.max_tokens=99999999999", "data.items=[1,99999999999]"])
def test_sizes_that_no_machine_holds_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    assert "99999999999" in refused(monkeypatch, capsys, "show", "smollm2-135m", f"--set={setting}")
