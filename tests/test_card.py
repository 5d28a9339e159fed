from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from needlework import card, recipe
from needlework.storage import write_json, write_text
from tests.report.conftest import comparison, demo

SUMMARY = {
    "haystacks": 60, "answers": 480, "tokens": 75047, "steps": 30, "seconds": 231.0, "precision": "fp32",
    "parameters": 134515008, "trainable_parameters": 26542080, "peak_memory_gib": 4.8,
}  # fmt: skip


def trained(run: Path, values: dict[str, Any] | None = None) -> Path:
    """Write the files of a run whose training is finished."""
    write_text(run / "recipe.yaml", recipe.dump(recipe.parse({"model": {"precision": "fp32"}} | (values or {}))))
    write_json(run / "environment.json", {"torch": "2.9.0", "peft": "0.18.0", "command": f"needlework run {run}"})
    write_json(run / "train" / "summary.json", SUMMARY)
    (run / "train" / "model").mkdir()
    (run / "train" / "model" / "model.safetensors").write_bytes(b"weights")
    return run


def metadata(text: str) -> dict[str, Any]:
    found: dict[str, Any] = ModelCard(text).data.to_dict()
    return found


def folder_of(base: Path, front_matter: str = "") -> str:
    write_text(base / "README.md", f"---\n{front_matter}\n---\n" if front_matter else "A model.")
    return str(base)


def test_a_card_states_data_recipe_and_versions(tmp_path: Path) -> None:
    data = {"haystacks": 60, "needles": 8, "max_tokens": 2048, "items": [4, 22], "params": {"template": False}}
    train = {"learning_rate": 1e-4, "batch_size": 2, "epochs": 1}
    text = card.render(trained(tmp_path, {"data": data, "train": train, "seed": 3}))
    for row in (
        "| task | simple_dict |",
        '| parameters | {"template": false} |',
        "| haystacks | 60, each with 8 needles |",
        "| items in each | 4 to 22 |",
        "| seed | 3 |",
        "| trained | attention projections |",
        "| learning rate | 0.0001, constant, 0 warmup steps |",
        "| batch | 2 haystacks |",
        "| tokens | 75,047 |",
        "| precision | fp32 |",
        "| versions | torch 2.9.0, peft 0.18.0 |",
    ):
        assert row in text.splitlines()
    assert "https://arxiv.org/abs/2406.19292" in text


def test_the_front_matter_is_what_the_hub_reads(tmp_path: Path) -> None:
    assert metadata(card.render(trained(tmp_path / "whole"))) == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "base_model_relation": "finetune",
        "library_name": "transformers",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["needlework", "long-context", "retrieval"],
    }
    adapter = metadata(card.render(trained(tmp_path / "lora", {"train": {"trainable": "lora", "merge": False}})))
    assert (adapter["library_name"], adapter["base_model_relation"], adapter["tags"][-1]) == ("peft", "adapter", "lora")


def test_the_license_is_the_bases_where_that_is_known(tmp_path: Path) -> None:
    told = "license: other\nlicense_name: ours\nlicense_link: https://example.org"
    named = folder_of(tmp_path / "named", told)
    found = metadata(card.render(trained(tmp_path / "a", {"model": {"name": named, "precision": "fp32"}})))
    assert (found["license"], found["license_name"]) == ("other", "ours")
    silent = folder_of(tmp_path / "silent")
    found = metadata(card.render(trained(tmp_path / "b", {"model": {"name": silent, "precision": "fp32"}})))
    assert "license" not in found


def test_a_card_holds_no_path_of_this_machine(tmp_path: Path) -> None:
    base = folder_of(tmp_path / "secret" / "my-model")
    data = {"task": "niah", "params": {"source": str(tmp_path / "secret" / "diary.txt")}}
    text = card.render(trained(tmp_path / "a", {"model": {"name": base, "precision": "fp32"}, "data": data}))
    own = {"file": str(tmp_path / "secret" / "contracts.jsonl"), "sha256": "0a1b"}
    text += card.render(trained(tmp_path / "b", {"model": {"name": base, "precision": "fp32"}, "data": own}))
    assert "secret" not in text
    assert str(tmp_path) not in text
    for name in ("base_model: my-model", "diary.txt", "| file | contracts.jsonl |", "| sha256 | 0a1b |"):
        assert name in text


def test_a_model_of_ours_is_named_by_its_run(tmp_path: Path) -> None:
    first = trained(tmp_path / "first")
    name = str(first / "train" / "model")
    second = trained(tmp_path / "second", {"model": {"name": name, "precision": "fp32"}})
    assert metadata(card.render(second))["base_model"] == "first"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "Trained on synthetic data only"),
        ({"task": "records"}, "Trained on synthetic data only"),
        ({"task": "mdqa"}, "Trained on questions over real text"),
        (
            {"task": "mixture", "params": {"parts": {"simple_dict": 1, "niah": 1}}},
            "Trained on questions over real text",
        ),
        ({"file": "mine.jsonl"}, "Trained on the user's own haystacks"),
    ],
)
def test_a_card_says_what_kind_of_text_was_trained_on(tmp_path: Path, data: dict[str, Any], said: str) -> None:
    text = card.render(trained(tmp_path, {"data": data}))
    assert [line for line in text.splitlines() if line.startswith("Trained on")] == [
        next(line for line in text.splitlines() if said in line)
    ]


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [([], True), (["train.epochs=3"], True), (["model.name=./mine"], False), (["data.haystacks=9"], False)],
)
def test_a_shipped_recipes_description_is_not_that_of_other_models_or_data(
    tmp_path: Path, changes: list[str], is_kept: bool
) -> None:
    shipped, run = recipe.load("smollm2-135m"), trained(tmp_path)
    write_text(run / "recipe.yaml", recipe.dump(recipe.load("smollm2-135m", changes)))
    assert (f"> {card.plain(shipped.description)}" in card.render(run).splitlines()) == is_kept


def test_text_of_the_users_breaks_nothing(tmp_path: Path) -> None:
    values = {"description": "---\nlicense: mit\n---\n# a | <b> `c` [d](e) _f_ \u202e", "train": {"epochs": 1}}
    text = card.render(trained(tmp_path, values | {"model": {"precision": "fp32", "system": "x\n\n## y"}}))
    assert metadata(text)["license"] == "apache-2.0"
    lines = text.splitlines()
    assert [line for line in lines if line == "---"] == ["---", "---"]
    assert r"> --- license: mit --- \# a \| \<b\> \`c\` \[d\](e) \_f\_ \[U+202E\]" in lines
    assert [line for line in lines if line.startswith("#")] == [
        "# SmolLM2-135M-Instruct, finetuned with Needlework", "## Data", "## Training", "## Results", "## Use",
    ]  # fmt: skip


def test_a_card_without_evaluation_says_so(tmp_path: Path) -> None:
    card.begin(trained(tmp_path))
    text = (tmp_path / "train" / "model" / "README.md").read_text()
    assert "Not evaluated" in text
    assert "exact p" not in text


def test_a_card_that_is_there_is_not_begun_again(tmp_path: Path) -> None:
    path = trained(tmp_path) / "train" / "model" / "README.md"
    path.write_text("edited")
    card.begin(tmp_path)
    assert path.read_text() == "edited"


def test_the_results_are_those_of_the_comparison(tmp_path: Path) -> None:
    text = card.render(trained(tmp_path), demo())
    assert "| Multi-document QA | 594 | 34.6% | 43.7% | +9.1 (+4.0 to +14.2) | 0.0004 |" in text
    assert "| — gold at 3 | 40 | 28.0% | 41.0% | +13.0 (+7.0 to +19.0) | 0.001 |" in text
    assert "Finetuning on 60 haystacks raised key-value retrieval from 3% to 98%" in text
    assert demo()["method"] in text
    assert "this is one run" in text
    assert "Not evaluated" not in text


def evaluated(run: Path, before: str, after: str | None) -> tuple[Path, Path]:
    """Write a comparison, and which models its two sides were."""
    sides = run / "before", run / "after"
    for side, model in zip(sides, ({"name": before}, {"name": "moved since", "fingerprint": after}), strict=True):
        write_json(side / "settings.json", {"model": model})
    write_json(run / "comparison.json", demo())
    return sides


def test_a_card_is_completed_by_a_comparison_of_its_model_alone(tmp_path: Path) -> None:
    run = trained(tmp_path)
    card.begin(run)
    own, path = card.fingerprint(str(run / "train" / "model")), run / "train" / "model" / "README.md"
    for before, after in (("smollm2-135m", "of another"), ("another", own), ("smollm2-135m", None)):
        card.complete(run, *evaluated(run, before, after))
        assert "Not evaluated" in path.read_text()
    card.complete(run, *evaluated(run, "smollm2-135m", own))
    assert "Multi-document QA" in path.read_text()


def test_a_folder_without_a_finetuned_model_gets_no_card(tmp_path: Path) -> None:
    write_json(tmp_path / "comparison.json", comparison())
    card.complete(tmp_path, tmp_path / "before", tmp_path / "after")
    assert not list(tmp_path.rglob("README.md"))


def example(text: str) -> str:
    """Return the code of a card that loads the model."""
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return str(code)


@pytest.mark.parametrize("merge", [True, False])
def test_the_code_to_load_a_model_is_that_of_its_form(tmp_path: Path, merge: bool) -> None:
    code = example(card.render(trained(tmp_path, {"train": {"trainable": "lora", "merge": merge}})))
    compile(code, "README.md", "exec")
    assert ("AutoPeftModelForCausalLM.from_pretrained" in code) != merge
