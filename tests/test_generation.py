from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from needlework.corpus import passages
from needlework.dataset.formats import FORMATS
from needlework.errors import BudgetError, UserError
from needlework.generation import generate
from needlework.progress import Silent
from needlework.recipe import Recipe, parse
from tests.conftest import make_tokenizer


def recipe(model_folder: Path, *overrides: str) -> Recipe:
    values = {"model": {"name": str(model_folder)}, "data": {"haystacks": 6, "needles": 2, "max_tokens": 600}}
    return parse(values, overrides)


@pytest.mark.parametrize("conversation", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_written_as_rows_or_conversations(
    model_folder: Path, tmp_path: Path, format: str, conversation: bool
) -> None:
    many = recipe(model_folder, "data.haystacks=10")
    manifest = generate(many, tmp_path, format=format, conversation=conversation)
    assert manifest["rows"] == (10 if conversation else 20)
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == entry["sha256"]


def test_the_manifest_says_what_the_data_were_made_from(model_folder: Path, tmp_path: Path) -> None:
    settings = generate(recipe(model_folder, "seed=3"), tmp_path, format="trl")["settings"]
    assert (settings["format"], settings["conversation"], settings["seed"]) == ("trl", False, 3)
    assert settings["data"]["max_tokens"] == 600
    assert settings["model"]["name"] == str(model_folder)
    assert len(settings["model"]["tokenizer"]) == 16
    assert settings["needlework"] == "0.1.0"
    assert "train" not in settings


@pytest.mark.parametrize(
    ("change", "options", "difference"),
    [
        ("data.max_tokens=601", {}, "data.max_tokens is 600 there and 601 here"),
        ("seed=1", {}, "seed is 0 there and 1 here"),
        ("data.params.template=false", {}, "data.params.template is None there and False here"),
        ("seed=0", {"format": "messages"}, "format is 'trl' there and 'messages' here"),
        ("seed=0", {"conversation": True}, "conversation is False there and True here"),
        ("model.system=Hello", {}, "model.system is None there and 'Hello' here"),
    ],
)
def test_another_dataset_in_the_folder_is_refused_with_what_differs(
    model_folder: Path, tmp_path: Path, change: str, options: dict[str, Any], difference: str
) -> None:
    generate(recipe(model_folder), tmp_path, format="trl")
    with pytest.raises(UserError, match=difference):
        generate(recipe(model_folder, change), tmp_path, **{"format": "trl", **options})


def test_training_settings_matter_only_where_they_are_written(model_folder: Path, tmp_path: Path) -> None:
    for format in ("trl", "axolotl"):
        generate(recipe(model_folder), tmp_path / format, format=format)
    changed = recipe(model_folder, "train.epochs=7")
    generate(changed, tmp_path / "trl", format="trl")
    with pytest.raises(UserError, match=r"train\.epochs is 2 there and 7 here"):
        generate(changed, tmp_path / "axolotl", format="axolotl")


@pytest.mark.parametrize(
    ("overrides", "system"),
    [((), "Write a response that appropriately completes the request."), (("model.system=Mine.",), "Mine.")],
)
def test_openai_models_get_the_papers_system_message(
    model_folder: Path, tmp_path: Path, overrides: tuple[str, ...], system: str
) -> None:
    generate(recipe(model_folder, *overrides), tmp_path, format="openai")
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").open()]
    assert all(row["messages"][0] == {"role": "system", "content": system} for row in rows)


def test_workers_and_ray_exclude_each_other(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give one of them"):
        generate(recipe(model_folder), tmp_path, workers=2, ray="auto")


class Said(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    ("digits", "conversation", "said"),
    [
        ("single", False, []),
        ("merged", False, []),
        ("single", True, ["simple_dict is tokenized as text, which is as exact but slower: conversations are not"]),
    ],
)
def test_the_plain_path_is_told_once_with_its_reason(
    tmp_path: Path, digits: str, conversation: bool, said: list[str]
) -> None:
    make_tokenizer(digits).save_pretrained(tmp_path / "model")
    progress = Said()
    generate(recipe(tmp_path / "model"), tmp_path / "out", progress, conversation=conversation)
    assert [line[: len(start)] for line, start in zip(progress.lines, said, strict=True)] == said


def test_a_tokenizer_that_joins_numbers_with_their_surroundings_is_named(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    # A token of its own for a bracket and a digit.
    tokenizer.add_tokens(["{1"])
    tokenizer.save_pretrained(tmp_path / "model")
    progress = Said()
    generate(recipe(tmp_path / "model"), tmp_path / "out", progress)
    (line,) = progress.lines
    assert line.startswith("simple_dict is tokenized as text")
    assert str(tmp_path / "model") in line


def test_what_cannot_be_made_leaves_no_folder(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="Raise max_tokens"):
        generate(recipe(model_folder, "data.max_tokens=50"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_items_than_fit_are_refused_even_if_the_first_haystacks_have_few(
    model_folder: Path, tmp_path: Path
) -> None:
    few_first = recipe(model_folder, "data.items=[2, 12]", "seed=34")
    with pytest.raises(BudgetError, match=r"with 12 items needs \d+ tokens, but max_tokens=600"):
        generate(few_first, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_changed_text_of_the_users_own_is_refused(model_folder: Path, tmp_path: Path) -> None:
    essays = tmp_path / "essays"
    essays.mkdir()
    (essays / "one.txt").write_text(" ".join(f"Sentence {word} is here." for word in "abcdefghijklmnopqrstuvwxyz"))
    own = recipe(model_folder, "data.task=niah", f"data.params.source={essays}", "data.items=[5, 9]")
    generate(own, tmp_path / "out")
    (essays / "two.txt").write_text("One more.")
    passages.cache_clear()
    with pytest.raises(UserError, match=r"sources\.\S+essays is 'sha256 \w+' there and 'sha256 \w+' here"):
        generate(own, tmp_path / "out")


@pytest.mark.slow
def test_workers_write_the_same_folder(model_folder: Path, tmp_path: Path) -> None:
    one = generate(recipe(model_folder), tmp_path / "one", format="tokens")
    assert generate(recipe(model_folder), tmp_path / "two", format="tokens", workers=2) == one
