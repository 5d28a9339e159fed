from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from needlework import pipeline, preparation, recipe
from needlework.benchmark_settings import Evaluate, Knowledge
from needlework.errors import ModelError, RecipeError, UserError
from needlework.haystack import Prediction, read
from needlework.inference.backend import TooLongError
from needlework.storage import locked

TINY: dict[str, Any] = {
    "model": {"precision": "fp32"},
    "data": {"haystacks": 12, "needles": 3, "max_tokens": 900, "items": [2, 6]},
    "train": {"learning_rate": 0.01, "batch_size": 2, "epochs": 1, "checkpoint_steps": 2},
    "evaluate": {
        "kv": {"lengths": [500], "depths": [0, 1], "haystacks": 40},
        "mdqa": {"documents": 2, "positions": [1, 2], "paragraphs": 2, "max_new_tokens": 8},
        "knowledge": {"facts": 70},
    },
}


@pytest.fixture(scope="module")
def tiny(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"model": {"name": str(model_folder), "precision": "fp32"}}))
    return path


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run")
    pipeline.run(recipe.load(tiny), output)
    return output


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_run_leaves_the_folder_that_the_design_describes(finished: Path) -> None:
    files = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    evaluation = {"done", "settings.json", "environment.json", "summary.json"}
    evaluation |= {f"predictions-{name}.jsonl" for name in ("kv", "mdqa", "knowledge")}
    expected = {"recipe.yaml", "environment.json", "comparison.json", "report.html", "figures/overview.png"}
    expected |= {"train/metrics.jsonl", "train/summary.json", "train/model/model.safetensors"}
    expected |= {f"{side}/{name}" for side in ("before", "after") for name in evaluation}
    assert expected <= files
    assert not [name for name in files if ".tmp" in name or ".partial" in name]


def test_the_comparison_pairs_every_needle(finished: Path) -> None:
    rows = json.loads((finished / "comparison.json").read_text())["benchmarks"]
    assert {name: row["overall"]["n"] for name, row in rows.items()} == {
        "kv": 80, "kv.whole": 80, "mdqa": 8, "knowledge": 70, "knowledge.exact": 70,
    }  # fmt: skip
    assert list(rows["kv"]["by_position"]) == ["0%", "100%"]
    assert list(rows["mdqa"]["by_position"]) == ["1", "2"]


def test_before_and_after_are_different_models(finished: Path) -> None:
    outputs = [
        [each.output for each in read(Prediction, finished / side / "predictions-kv.jsonl")]
        for side in ("before", "after")
    ]
    assert outputs[0] != outputs[1]


def test_a_finished_run_is_not_touched(tiny: Path, finished: Path) -> None:
    before = stamps(finished)
    comparison = pipeline.run(recipe.load(tiny), finished)
    assert comparison == json.loads((finished / "comparison.json").read_text())
    assert stamps(finished) == before


def test_an_unknown_task_is_refused_before_anything_is_written(tiny: Path, tmp_path: Path) -> None:
    for stage in (pipeline.run, pipeline.finetune):
        with pytest.raises(RecipeError, match="no task 'simple_dic'"):
            stage(recipe.load(tiny, ["data.task=simple_dic"]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_checkpoints_that_a_kill_left_behind_are_deleted(tiny: Path, finished: Path, tmp_path: Path) -> None:
    output = shutil.copytree(finished, tmp_path / "run")
    (output / "train/checkpoints/checkpoint-2").mkdir(parents=True)
    pipeline.finetune(recipe.load(tiny), output)
    assert not (output / "train/checkpoints").exists()


def test_another_recipe_in_the_folder_is_refused(tiny: Path, finished: Path) -> None:
    before = stamps(finished)
    with pytest.raises(RecipeError, match=r"train\.learning_rate is 0\.01 there and 0\.02 here"):
        pipeline.run(recipe.load(tiny, ["train.learning_rate=0.02"]), finished)
    assert stamps(finished) == before


def test_the_finetuned_models_card_ends_with_the_comparison(finished: Path, model_folder: Path) -> None:
    card = (finished / "train" / "model" / "README.md").read_text()
    assert f"base_model: {model_folder.name}" in card
    assert "| Closed-book facts | 70 |" in card
    assert str(finished.parent) not in card


def test_an_adapter_alone_is_evaluated_and_has_a_card(tiny: Path, tmp_path: Path) -> None:
    loaded = recipe.load(tiny, ["train.trainable=lora", "train.merge=false", "data.haystacks=2"])
    target = pipeline.finetune(loaded, tmp_path)
    # As if it had been killed before its last file was written.
    (target / "README.md").unlink()
    assert pipeline.finetune(loaded, tmp_path) == target
    assert "library_name: peft" in (target / "README.md").read_text()
    model = loaded.model.model_copy(update={"name": str(target)})
    asked = Evaluate(knowledge=Knowledge(facts=4))
    pipeline.evaluate(model, asked, 0, tmp_path / "after")
    assert len(list(read(Prediction, tmp_path / "after" / "predictions-knowledge.jsonl"))) == 4


def test_a_missing_tracker_is_told_before_anything_is_loaded(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("needlework.train.trackers.find_spec", lambda name: None)
    loaded = recipe.load(tiny, ["train.trackers=[wandb]", "model.name=./no-such-model"])
    for stage in (pipeline.run, pipeline.finetune):
        with pytest.raises(UserError, match="wandb, which is not installed"):
            stage(loaded, tmp_path / "run")


def test_a_check_is_recorded_at_its_steps(tiny: Path, tmp_path: Path) -> None:
    pipeline.finetune(recipe.load(tiny, ["train.check.steps=4", "train.check.needles=5"]), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "train" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "held_out_value" in row] == [4, 6]


@pytest.mark.parametrize("override", ["evaluate.knowledge.facts=10", "seed=5"])
def test_another_evaluation_in_a_finished_folder_is_refused(tiny: Path, finished: Path, override: str) -> None:
    loaded = recipe.load(tiny, [override])
    with pytest.raises(RecipeError, match="holds another evaluation"):
        pipeline.evaluate(loaded.model, loaded.evaluate, loaded.seed, finished / "before")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.items=[2, 60]", "with 60 items needs"),
        ("data.max_tokens=5000", "the context of .* is 4096 tokens"),
        ("data.task=simple_dct", "no task 'simple_dct'"),
        ("data.needles=30", "30 needles do not fit"),
    ],
)
def test_a_mistake_in_the_training_is_found_before_anything_is_asked(
    tiny: Path, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        pipeline.run(recipe.load(tiny, [override]), tmp_path / "run")
    assert not (tmp_path / "run" / "before").exists()


def test_a_haystack_that_is_too_long_is_found_before_the_training_comes_to_it(tiny: Path, tmp_path: Path) -> None:
    loaded = recipe.load(tiny, ["data.items=[6, 6]"])
    renderer = preparation.make_renderer(loaded.model)
    first, *others = [renderer.count(haystack) for haystack in preparation.training_data(loaded, renderer)[0]]
    # The numbers of some have more digits.
    assert first < max(others)
    with pytest.raises(UserError, match=rf"sample [1-9]\d* with 6 items needs \d+ tokens, but max_tokens={first}"):
        pipeline.finetune(recipe.load(tiny, ["data.items=[6, 6]", f"data.max_tokens={first}"]), tmp_path / "run")
    assert not (tmp_path / "run" / "train").exists()


def test_quantized_weights_are_not_trained(tiny: Path, model_folder: Path, tmp_path: Path) -> None:
    quantized = shutil.copytree(model_folder, tmp_path / "model")
    config = json.loads((quantized / "config.json").read_text()) | {"quantization_config": {"quant_method": "awq"}}
    (quantized / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"are quantized\. Give the model that they were made from"):
        pipeline.finetune(recipe.load(tiny, [f"model.name={quantized}"]), tmp_path / "run")


def test_an_adapter_of_an_adapter_is_not_saved_alone(tiny: Path, model_folder: Path, tmp_path: Path) -> None:
    """It would name the model that both were made from, and leave out what the first has learned."""
    lora = ["train.trainable=lora", "data.haystacks=2"]
    first = pipeline.finetune(recipe.load(tiny, [*lora, "train.merge=false"]), tmp_path / "first")
    again = [*lora, f"model.name={first}"]
    with pytest.raises(RecipeError, match=rf"is an adapter of {model_folder}\. .* Set train\.merge=true"):
        pipeline.finetune(recipe.load(tiny, [*again, "train.merge=false"]), tmp_path / "second")
    assert not (tmp_path / "second" / "train").exists()
    assert (pipeline.finetune(recipe.load(tiny, again), tmp_path / "second") / "model.safetensors").exists()


def test_an_evaluation_continues_in_the_precision_it_began_with(
    tiny: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("needlework.models.loading.fastest_precision", lambda: "bf16")
    loaded = recipe.load(tiny, ["model.precision=auto"])
    pipeline.evaluate(loaded.model, loaded.evaluate, loaded.seed, finished / "before")


def test_auto_precision_is_settled_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = recipe.load(tiny, ["model.precision=auto"])
    monkeypatch.setattr("needlework.models.loading.fastest_precision", lambda: "fp32")
    settled = pipeline._settle(loaded, tmp_path)
    monkeypatch.setattr("needlework.models.loading.fastest_precision", lambda: "bf16")
    assert settled.model.precision == "fp32"
    (tmp_path / "before").mkdir()
    assert pipeline._settle(loaded, tmp_path) == settled


def test_a_folder_of_another_training_is_not_written_over(tiny: Path, tmp_path: Path) -> None:
    own = tmp_path / "train" / "checkpoints" / "checkpoint-500" / "weights"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    for begin in (pipeline.run, pipeline.finetune):
        with pytest.raises(RecipeError, match=r"train holds files that Needlework did not write"):
            begin(recipe.load(tiny), tmp_path)
    assert own.read_text() == "mine"
    assert not (tmp_path / "recipe.yaml").exists()


def test_a_second_training_does_not_change_the_recipe_of_one_under_way(tiny: Path, tmp_path: Path) -> None:
    with locked(tmp_path):
        for begin in (pipeline.run, pipeline.finetune):
            with pytest.raises(UserError, match="another process is at work"):
                begin(recipe.load(tiny), tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_budget_that_cannot_be_met_leaves_nothing_half_written(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluate\.kv\.lengths=40"):
        pipeline.run(recipe.load(tiny, ["evaluate.kv.lengths=[40]"]), tmp_path / "run")
    assert not list((tmp_path / "run").rglob("predictions*"))
    # The mended recipe may use the folder.
    assert pipeline._settle(recipe.load(tiny), tmp_path / "run") == recipe.load(tiny)


def test_after_prompts_that_are_too_long_shorter_ones_may_use_the_folder(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(TooLongError, match=r"the model's context is 4096"):
        pipeline.run(recipe.load(tiny, ["evaluate.kv.lengths=[5000]"]), tmp_path / "run")
    assert not (tmp_path / "run" / "before").exists()
    assert pipeline._settle(recipe.load(tiny), tmp_path / "run") == recipe.load(tiny)


def start(tiny: Path, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "needlework", "run", str(tiny), "--output", str(output)]
    environment = os.environ | {"XDG_CACHE_HOME": str(output.parent / "cache")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def kill_when(process: subprocess.Popen[str], reached: Any) -> None:
    while process.poll() is None:
        if reached():
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.002)
    assert process.wait() == -signal.SIGKILL, process.communicate()[1]


@pytest.mark.slow
def test_a_run_killed_in_every_stage_ends_like_an_undisturbed_one(tiny: Path, finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"

    def lines(name: str) -> int:
        path = output / name
        return path.read_text().count("\n") if path.exists() else 0

    moments = [
        lambda: lines("before/predictions-kv.jsonl.partial") > 0,
        lambda: lines("train/metrics.jsonl") >= 3,
        lambda: lines("after/predictions-knowledge.jsonl.partial") > 0,
    ]
    for reached in moments:
        kill_when(start(tiny, output), reached)
        assert not (output / "report.html").exists()
    process = start(tiny, output)
    table, _ = process.communicate()
    assert process.returncode == 0
    assert "Closed-book facts" in table
    for side in ("before", "after"):
        for name in ("kv", "mdqa", "knowledge"):
            path = Path(side) / f"predictions-{name}.jsonl"
            assert (output / path).read_bytes() == (finished / path).read_bytes()
    assert (output / "comparison.json").read_text().replace(str(output), "") == (
        finished / "comparison.json"
    ).read_text().replace(str(finished), "")
