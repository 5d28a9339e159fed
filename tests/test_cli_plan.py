from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import transformers

from needlework import pipeline, recipe
from needlework.benchmark_settings import MDQA, Evaluate, Knowledge
from needlework.cli_plan import print_plan
from needlework.errors import BudgetError, ModelError, RecipeError, UserError
from needlework.recipe import Recipe


def tiny(model: Path | str, **data: Any) -> Recipe:
    """Return a recipe of six short haystacks, in two batches, twice."""
    data = {"haystacks": 6, "needles": 3, "max_tokens": 600, "items": [2, 5]} | data
    train = {"batch_size": 3, "epochs": 2, "learning_rate": 1e-3}
    return recipe.parse({"model": {"name": str(model), "precision": "fp32"}, "data": data, "train": train})


def plan(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Return the comments that are printed behind the recipe."""
    print_plan(*arguments)
    lines = capsys.readouterr().out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("#"))
    assert all(line.startswith("# ") for line in lines[first:])
    return "\n".join(lines[first:]).replace("\n#   ", " ")


def number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found, f"{pattern} is not in {text}"
    return int(found[1].replace(",", ""))


def test_the_plan_is_what_the_training_then_notes(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = tiny(model_folder)
    text = plan(capsys, chosen, 1.0)
    pipeline.finetune(chosen, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "train" / "summary.json").read_text())
    assert number(r"([\d,]+) answers", text) == summary["answers"]
    assert number(r"in ([\d,]+) steps", text) == summary["steps"]
    assert number(r"([\d,]+) parameters", text) == summary["parameters"]
    assert number(r"([\d,]+) are trained", text) == summary["trainable_parameters"]
    # All six are counted, so this is exact.
    assert number(r"([\d,]+) tokens in 12 packed rows", text) == summary["tokens"]


def test_what_is_printed_is_still_the_recipe(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = tiny(model_folder)
    print_plan(chosen, 1.0)
    assert recipe.yaml.safe_load(capsys.readouterr().out) == chosen.model_dump(mode="json")


def test_without_the_model_one_sentence_says_what_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    first, *others = plan(capsys, tiny("nobody/none")).splitlines()
    assert first == "# 36 answers in 4 steps of 3 haystacks"
    measured, text = others
    assert measured.startswith("# `run` also measures ")
    assert text.startswith(
        "# Parameters, tokens, memory and time are left out, because they need the model: cannot load"
    )


@pytest.mark.parametrize("config", [None, '{"model_type": "none"}', '{"model_type": "llama"}'])
def test_a_folder_that_cannot_be_trained_is_refused(tmp_path: Path, config: str | None) -> None:
    folder = tmp_path / "model"
    if config:
        folder.mkdir()
        (folder / "config.json").write_text(config)
    with pytest.raises(ModelError):
        print_plan(tiny(folder))


def test_a_recipe_for_a_host_is_not_trained_here(model_folder: Path) -> None:
    hosted = tiny(model_folder).model_copy(update={"hosted": recipe.Hosted(model="their-model")})
    with pytest.raises(RecipeError, match=r"finetunes their-model at a host: use `needlework hosted submit`\. To"):
        print_plan(hosted)


def test_time_goes_by_the_rate_that_is_given(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow, fast = (number(r"process: ([\d]+) seconds", plan(capsys, tiny(model_folder), each)) for each in (2e-5, 4e-5))
    assert slow == pytest.approx(2 * fast, abs=1)
    assert slow > 10


def test_without_a_rate_that_of_this_machine_is_measured(
    model_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("needlework.train.estimate.rate", lambda precision: 5e9)
    text = plan(capsys, tiny(model_folder))
    assert "at 0.005 TFLOP/s, measured here on matrix products in fp32" in text


def test_lora_and_checkpointing_are_planned_for(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = tiny(model_folder)
    changed = recipe.parse(
        plain.model_dump(), ["train.trainable=lora", "train.lora_rank=2", "train.gradient_checkpointing=true"]
    )
    one, other = plan(capsys, plain, 1.0), plan(capsys, changed, 1.0)
    assert number(r"([\d,]+) are trained \(lora", other) < number(r"([\d,]+) are trained \(attention", one)
    assert number(r"([\d,]+) parameters", other) > number(r"([\d,]+) parameters", one)


def test_what_cannot_be_trained_is_refused_as_by_the_training(
    model_folder: Path, tmp_path: Path, tokenizer: transformers.PreTrainedTokenizerFast
) -> None:
    with pytest.raises(BudgetError, match="max_tokens"):
        print_plan(tiny(model_folder, max_tokens=100), 1.0)
    transformers.GPT2Config().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not proven exact for 'gpt2'"):
        print_plan(tiny(tmp_path), 1.0)


def test_few_haystacks_of_many_are_counted(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "counted in 16 of 1,000 haystacks" in plan(capsys, tiny(model_folder, haystacks=1000), 1.0)


def test_the_benchmarks_of_a_run_are_built_and_counted(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = tiny(model_folder)
    mdqa = MDQA(documents=2, positions=(1, 2), paragraphs=2, questions_per_paragraph=1)
    text = plan(capsys, chosen.model_copy(update={"evaluate": Evaluate(mdqa=mdqa, knowledge=Knowledge(facts=8))}), 1.0)
    assert re.search(
        r"also measures knowledge \(8 questions, \S+ million tokens of prompts\), mdqa \(4 questions,", text
    )
    outside = Evaluate(mdqa=mdqa.model_copy(update={"positions": (1, 9)}))
    with pytest.raises(UserError, match=r"evaluate\.mdqa\.positions has 9"):
        print_plan(chosen.model_copy(update={"evaluate": outside}), 1.0)
