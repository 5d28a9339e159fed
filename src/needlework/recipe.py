"""The recipe: a whole experiment as one YAML file. These types are its keys, their defaults and their help."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from needlework import plain_yaml
from needlework.benchmark_settings import KV, MDQA, Evaluate, Knowledge
from needlework.errors import RecipeError
from needlework.overrides import apply
from needlework.sections import Section, suggest, validate
from needlework.storage import write_text


class Model(Section):
    """The model to finetune and evaluate."""

    name: str = "smollm2-135m"
    """`smollm2-135m` (embedded), a local folder, or a Hugging Face id."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16 trains under autocast and evaluates in bf16; auto picks whichever is faster on this machine."""
    trust_remote_code: bool = False
    """Run Python code that ships with the model."""
    system: str | None = None
    """System message; none by default, as in the paper for open models."""


OF_TASKS = ("task", "params", "haystacks", "items")
"""Keys of `data` that say which haystacks to make, and have nothing to say about a file's."""


class Data(Section):
    """The haystacks to train on, from a synthetic task or a file."""

    file: str | None = None
    """A file of your own haystacks (docs/own-data.md), used instead of a task's."""
    sha256: str | None = None
    """Checksum of `file`; a run records it and refuses to continue if the file has changed."""
    task: str = "simple_dict"
    """The synthetic task; `needlework list tasks` shows all."""
    params: dict[str, Any] = Field({})
    """Task parameters that differ from the defaults."""
    haystacks: int = Field(350, ge=1, le=sys.maxsize)
    """Number of haystacks; the paper uses 350."""
    needles: int = Field(8, ge=1)
    """Needles per haystack, which share its context; the paper has 1. For a file, the maximum per row:
    a haystack with more becomes several rows."""
    max_tokens: int = Field(4096, ge=1, le=10**8)
    """Maximum tokens of rendered prompt plus longest answer, counted with the model's tokenizer."""
    items: tuple[int, int] | None = None
    """Minimum and maximum number of items, drawn uniformly; by default as many as fit `max_tokens`."""

    @field_validator("items")
    @classmethod
    def _ascending(cls, items: tuple[int, int] | None) -> tuple[int, int] | None:
        if items is not None and not 1 <= items[0] <= items[1]:
            raise ValueError("give the fewest items, at least 1, then the most")
        return items

    @model_validator(mode="after")
    def _has_room(self) -> Data:
        if self.items is not None and self.items[1] > self.max_tokens:
            raise ValueError(
                f"{self.items[1]} items do not fit max_tokens={self.max_tokens}: each takes a token at least"
            )
        return self

    @model_validator(mode="after")
    def _has_one_source(self) -> Data:
        if self.file is None and self.sha256 is not None:
            raise ValueError("sha256 is that of file, which is not given")
        for key in OF_TASKS:
            if self.file is not None and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"file takes the place of a task's haystacks, so leave out {key}")
        return self


class Check(Section):
    """A check on held-out haystacks during finetuning; the best model is kept."""

    steps: int = Field(10, ge=1)
    """Optimizer steps between checks; the last step is always checked."""
    needles: int = Field(64, ge=1)
    """Minimum needles per check; each haystack has as many as in training."""
    target: float | None = Field(0.95, gt=0, le=1)
    """Share of values found at which training stops; null trains to the end."""


class Train(Section):
    """Finetuning."""

    trainable: Literal["attention", "full", "lora"] = "attention"
    """Train the attention projections (our choice; the paper does not say), everything, or LoRA on the projections."""
    lora_rank: int = Field(16, ge=1)
    """Rank of the LoRA matrices."""
    merge: bool = True
    """Merge LoRA into the model's weights, so that anything can load the result; false saves only the adapter,
    which is small but needs the base model."""
    learning_rate: float = Field(5e-6, gt=0)
    """Peak learning rate of AdamW; the paper uses 5e-6 for Mistral-7B."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate schedule after warm-up; the paper does not say."""
    warmup_steps: int = Field(0, ge=0, le=10**6)
    """Steps over which the learning rate rises from 0."""
    batch_size: int = Field(16, ge=1, le=10**6)
    """Haystacks (packed rows) per global batch, split across processes; the paper uses 16."""
    epochs: int = Field(2, ge=1, le=10**4)
    """Passes over the haystacks; the paper uses 2."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time, or half if most is frozen."""
    compile: bool = False
    """Compile the layers with torch.compile: less memory, after up to a minute of compiling."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Maximum gradient norm; larger gradients are clipped."""
    checkpoint_steps: int = Field(10, ge=1, le=10**6)
    """Steps between checkpoints, from which interrupted training resumes."""
    check: Check | None = None
    """A check on held-out haystacks; none by default, which keeps the model of the last step."""
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where to log metrics besides `metrics.jsonl`."""

    @field_validator("merge")
    @classmethod
    def _has_an_adapter(cls, merge: bool, info: ValidationInfo) -> bool:
        if not merge and info.data.get("trainable") != "lora":
            raise ValueError("only LoRA has an adapter to save alone, so set trainable to lora")
        return merge

    def steps(self, rows: int) -> int:
        """Return the number of optimizer steps for `rows` rows; the last batch of an epoch may be smaller."""
        return -(-rows // self.batch_size) * self.epochs


class Hosted(Section):
    """Finetuning by a hosting provider, with `needlework hosted`."""

    model: str | None = Field(None, min_length=1)
    """The host's name for the model to finetune; `model.name` is then only used to count tokens."""


class Recipe(Section):
    """A whole experiment."""

    description: str = ""
    """What the recipe is for, in one line."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed for data, training and benchmarks."""
    trainings: int = Field(1, ge=1, le=1000)
    """Trainings of `run`, with the seeds `seed`, `seed` + 1 and so on, all asked the questions of `seed`: 1, or 3 or
    more, of which the mean is compared too. The paper averages 3."""
    model: Model = Model()
    data: Data = Data()
    train: Train = Train()
    hosted: Hosted = Hosted()
    evaluate: Evaluate = Evaluate(kv=KV(), mdqa=MDQA(), knowledge=Knowledge())

    @field_validator("trainings")
    @classmethod
    def _shows_how_they_vary(cls, trainings: int, info: ValidationInfo) -> int:
        if trainings == 2:
            raise ValueError("two do not show how trainings vary: take 1, or 3 or more")
        if (last := info.data.get("seed", 0) + trainings - 1) >= 2**32:
            raise ValueError(f"the last training would have the seed {last}: lower seed or trainings")
        return trainings

    @property
    def seeds(self) -> range:
        """The seeds of its trainings."""
        return range(self.seed, self.seed + self.trainings)


def names() -> list[str]:
    """Return the names of the recipes that ship with Needlework."""
    folder = files("needlework") / "recipes"
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def load(recipe: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe by name or from a YAML file, with `a.b=value` overrides.

    Raises:
        RecipeError: If there is none of that name, or a key or value is wrong; suggests the nearest.
    """
    text = os.fspath(recipe)
    if text in names():
        source = (files("needlework") / "recipes" / f"{text}.yaml").read_text(encoding="utf-8")
    else:
        try:
            source = Path(text).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            known = suggest(text, names())
            if "/" in text and not text.endswith((".yaml", ".yml")):
                known += f" If {text} is a model: --set model.name={text}."
            raise RecipeError(f"cannot read the recipe {text}: {reason}.{known}") from None
    if holds_haystacks(source):
        raise RecipeError(
            f"{text} holds haystacks, not a recipe: `finetune` and `run` take it as --data {text}, `show` as it is."
        )
    try:
        values = plain_yaml.parse(source)
    except ValueError as error:
        raise RecipeError(f"{text} is not YAML: {error}.") from None
    if values is None:
        raise RecipeError(f"{text} is empty. A recipe of defaults alone is `{{}}`; `needlework list settings` has all.")
    if not isinstance(values, dict):
        raise RecipeError(f"{text} should hold keys and values, not a {type(values).__name__}.")
    return parse(values, overrides, f"the recipe {text}")


def holds_haystacks(text: str) -> bool:
    """Return whether a text begins as a file of haystacks does (docs/own-data.md)."""
    return re.match(r"\s*\{.*\"needles\"\s*:\s*\[", text) is not None


def parse(values: dict[str, Any], overrides: Iterable[str] = (), what: str = "the recipe") -> Recipe:
    """Check the values of a recipe, after changing them by `a.b=value` overrides.

    Args:
        values: Its keys and values, as YAML gives them; changed in place.
        overrides: The overrides.
        what: What to call the recipe in a message.

    Raises:
        RecipeError: Names the first wrong key, what it got and what it takes.
    """
    for override in [overrides] if isinstance(overrides, str) else overrides:
        apply(values, override)
    return validate(Recipe, values, what)


def of_dataset(settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a dataset from the settings in its manifest, which hold more than a recipe's keys.

    Raises:
        RecipeError: If one of them has a value that no recipe takes.
    """
    sections = ((Model, settings["model"]), (Data, settings["data"]))
    model, data = ({key: section[key] for key in kind.model_fields if key in section} for kind, section in sections)
    return parse({"seed": settings["seed"], "model": model, "data": data})


def dump(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML, every key written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def save(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe, over an earlier one of ours but never over a file of the user's.

    Raises:
        RecipeError: If there is one.
    """
    if path.exists():
        try:
            is_ours = path.read_text(encoding="utf-8") == dump(load(path))
        except (UnicodeDecodeError, RecipeError):
            is_ours = False
        if not is_ours:
            raise RecipeError(
                f"{path} was not written by Needlework and this run would replace it. Give another --output."
            )
    write_text(path, dump(recipe))
