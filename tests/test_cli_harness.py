from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import Gemma3Config
from typer.testing import CliRunner

from needlework.cli import app

SMALL = ["--set", "evaluate.kv.lengths=[400]", "--set", "evaluate.kv.depths=[0,1]", "--benchmarks", "kv"]


def test_tasks_are_written_and_the_command_that_runs_them_is_printed(model_folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["tasks-dir", str(tmp_path), "--model", str(model_folder), *SMALL])
    assert result.exit_code == 0
    assert len(list(tmp_path.glob("needlework_kv_400_at_*.yaml"))) == 2
    assert result.stdout == (
        f"lm_eval run --include_path {tmp_path} --tasks needlework_kv --apply_chat_template --model hf "
        f"--model_args pretrained={model_folder}\n"
    )


@pytest.mark.parametrize(
    ("benchmarks", "message"),
    [
        ("kv,general", "general is lm-evaluation-harness's own already"),
        ("kv,perplexity", "perplexity is read from a model's weights and asks nothing"),
    ],
)
def test_what_is_no_task_is_refused(model_folder: Path, tmp_path: Path, benchmarks: str, message: str) -> None:
    command = ["tasks-dir", str(tmp_path / "tasks"), "--model", str(model_folder), "--benchmarks", benchmarks]
    result = CliRunner().invoke(app, command)
    assert message in str(result.exception)
    assert not (tmp_path / "tasks").exists()


def test_an_adapter_is_named_with_its_model(model_folder: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for each in model_folder.glob("*token*"):
        shutil.copy(each, adapter)
    shutil.copy(model_folder / "chat_template.jinja", adapter)
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model_folder)}))
    result = CliRunner().invoke(app, ["tasks-dir", str(tmp_path / "tasks"), "--model", str(adapter), *SMALL])
    assert result.stdout.endswith(f"--model hf --model_args pretrained={model_folder},peft={adapter}\n")


def test_the_context_of_a_model_of_text_and_images_is_known(model_folder: Path, tmp_path: Path) -> None:
    text = {"max_position_embeddings": 300, "vocab_size": 64}
    shutil.copytree(model_folder, tmp_path / "model")
    Gemma3Config(text_config=text).save_pretrained(tmp_path / "model")
    command = ["tasks-dir", str(tmp_path / "tasks"), "--model", str(tmp_path / "model"), *SMALL]
    assert "the model's context is 300" in str(CliRunner().invoke(app, command).exception)
