from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from needlework.dataset.export import export
from needlework.dataset.formats import FORMATS, trainers
from needlework.dataset.formats.base import Whole
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import ModelError
from needlework.models.chat import Renderer
from needlework.recipe import Train
from needlework.tasks import make_task
from tests.conftest import make_tokenizer


def dataset(renderer: Renderer) -> SyntheticDataset:
    return SyntheticDataset(make_task("simple_dict"), 2, 2, 600, renderer)


def config(renderer: Renderer, trainer: str, model: str = "some/model", **train: Any) -> dict[str, Any]:
    settings = {"seed": 5, "model": {"name": model}, "train": Train(**train).model_dump(mode="json")}
    files = {name: b"".join(chunks) for name, chunks in FORMATS[trainer].finish(Whole(dataset(renderer), settings, []))}
    loaded: dict[str, Any] = yaml.safe_load(files["config.yaml"])
    return loaded


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        (
            "axolotl",
            {
                "base_model": "some/model",
                "learning_rate": 1e-5,
                "num_epochs": 3,
                "gradient_accumulation_steps": 4,
                "lr_scheduler": "cosine",
                "seed": 5,
            },
        ),
        (
            "llamafactory",
            {
                "model_name_or_path": "some/model",
                "learning_rate": 1e-5,
                "num_train_epochs": 3,
                "gradient_accumulation_steps": 4,
                "lr_scheduler_type": "cosine",
                "seed": 5,
            },
        ),
    ],
)
def test_the_recipes_training_settings_are_the_trainers(
    renderer: Renderer, trainer: str, expected: dict[str, Any]
) -> None:
    found = config(renderer, trainer, learning_rate=1e-5, epochs=3, batch_size=4, schedule="cosine")
    assert expected.items() <= found.items()


@pytest.mark.parametrize(("warmup", "expected"), [(0, "constant"), (5, "constant_with_warmup")])
def test_a_constant_rate_is_warmed_up_as_the_recipe_says(renderer: Renderer, warmup: int, expected: str) -> None:
    for trainer, key in (("axolotl", "lr_scheduler"), ("llamafactory", "lr_scheduler_type")):
        assert config(renderer, trainer, schedule="constant", warmup_steps=warmup)[key] == expected


def test_axolotl_trains_on_the_answers_and_drops_nothing(renderer: Renderer) -> None:
    found = config(renderer, "axolotl")
    assert found["sequence_len"] > 600
    assert found["excess_length_strategy"] == "raise"
    assert (found["train_on_inputs"], found["datasets"][0]["roles_to_train"]) == (False, ["assistant"])
    assert "eot_tokens" not in found


def test_axolotl_is_told_the_end_of_turn_where_that_is_not_the_end_of_sequence() -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = "<s>"
    assert config(Renderer(tokenizer), "axolotl")["eot_tokens"] == ["<|im_end|>"]


def test_llamafactory_trains_on_the_answers_and_cuts_nothing_off(renderer: Renderer) -> None:
    found = config(renderer, "llamafactory")
    assert found["cutoff_len"] > 600
    assert (found["train_on_prompt"], found["mask_history"], found["packing"]) == (False, False, False)


@pytest.mark.parametrize(
    ("trainable", "axolotl", "llamafactory"),
    [
        ("full", {}, {"finetuning_type": "full"}),
        (
            "attention",
            {"unfrozen_parameters": [r"self_attn\..*_proj"]},
            {"finetuning_type": "freeze", "freeze_trainable_modules": "self_attn"},
        ),
        ("lora", {"adapter": "lora", "lora_r": 16}, {"finetuning_type": "lora", "lora_rank": 16}),
    ],
)
def test_the_same_part_is_trained(
    renderer: Renderer, trainable: str, axolotl: dict[str, Any], llamafactory: dict[str, Any]
) -> None:
    found = config(renderer, "axolotl", trainable=trainable)
    assert axolotl.items() <= found.items()
    assert ("unfrozen_parameters" in found, "adapter" in found) == (trainable == "attention", trainable == "lora")
    assert llamafactory.items() <= config(renderer, "llamafactory", trainable=trainable).items()


def test_the_embedded_model_has_its_name_on_the_hub_and_a_folder_its_whole_path(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert config(renderer, "axolotl", "smollm2-135m")["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert config(renderer, "llamafactory", "./model")["model_name_or_path"] == str(tmp_path / "model")


def test_llamafactory_finds_the_rows_in_its_list_of_datasets(renderer: Renderer, tmp_path: Path) -> None:
    settings = {"seed": 0, "model": {"name": "m"}, "train": Train().model_dump(mode="json")}
    export(dataset(renderer), FORMATS["llamafactory"], tmp_path, settings)
    entry = json.loads((tmp_path / "dataset_info.json").read_text())["needlework"]
    (rows,) = (tmp_path / entry["file_name"]).iterdir()
    row = json.loads(rows.read_text().splitlines()[0])
    message = row[entry["columns"]["messages"]][0]
    assert message[entry["tags"]["role_tag"]] == entry["tags"]["user_tag"]
    assert message[entry["tags"]["content_tag"]] == dataset(renderer)[0].message(dataset(renderer)[0].needles[0])


@pytest.mark.parametrize("trainer", ["axolotl", "llamafactory"])
def test_a_model_without_chat_template_is_refused(tmp_path: Path, trainer: str) -> None:
    with pytest.raises(ModelError, match="no chat template"):
        export(dataset(Renderer(make_tokenizer(template=None))), FORMATS[trainer], tmp_path, {})


def test_the_configurations_say_how_to_begin(renderer: Renderer, tmp_path: Path) -> None:
    settings = {"seed": 0, "model": {"name": "m"}, "train": Train().model_dump(mode="json")}
    whole = Whole(dataset(renderer), settings, [])
    for make, command in ((trainers.axolotl, "axolotl train"), (trainers.llamafactory, "llamafactory-cli train")):
        text = b"".join(dict(make(whole))["config.yaml"]).decode()
        assert text.startswith(f"# In this folder: {command} config.yaml\n")
