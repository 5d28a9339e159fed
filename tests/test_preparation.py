from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from needlework import preparation, recipe
from needlework.errors import RecipeError
from needlework.progress import Silent


def check(model_folder: Path, values: dict[str, Any]) -> None:
    chosen = recipe.parse({"model": {"name": str(model_folder), "precision": "fp32"}, **values})
    preparation.check_training(chosen, preparation.make_renderer(chosen.model), Silent())


@pytest.mark.parametrize("benchmark", ["mdqa", "perplexity", "drift"])
def test_a_model_is_not_asked_about_the_half_it_is_trained_on(model_folder: Path, benchmark: str) -> None:
    text = {"data": {"task": "mdqa", "needles": 1}, "evaluate": {benchmark: {"half": "train"}}}
    with pytest.raises(RecipeError, match=rf"evaluate\.{benchmark}\.half is train, the half .* task mdqa trains on"):
        check(model_folder, text)


def test_settings_of_numbers_may_be_chosen_on_the_training_half(model_folder: Path) -> None:
    numbers = {"data": {"haystacks": 2, "max_tokens": 600}, "evaluate": {"mdqa": {"half": "train"}}}
    check(model_folder, numbers)


def test_a_model_is_not_asked_about_the_file_it_is_trained_on(model_folder: Path, tmp_path: Path) -> None:
    line = '{"items": ["The rent is 950 euros."], "needles": [{"question": "How high is it?", "answer": "950 euros"}]}'
    trained, asked = tmp_path / "trained.jsonl", tmp_path / "asked.jsonl"
    trained.write_text(line)
    asked.write_text(line)
    values = {"data": {"file": str(trained)}, "evaluate": {"own": {"file": str(asked)}}}
    with pytest.raises(RecipeError, match="would be asked what it was trained on"):
        check(model_folder, values)
    asked.write_text(line.replace("950", "960"))
    check(model_folder, values)
