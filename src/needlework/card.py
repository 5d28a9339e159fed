"""The model card: README.md of a finetuned model, written from the files of its run.

It is made to be published with the model, so models and files of this machine appear by name, never by path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from needlework import recipe as recipes
from needlework.models import embedded
from needlework.models.loading import fingerprint, folder_of, license_of
from needlework.recipe import Recipe
from needlework.report import text
from needlework.report.comparison import METHOD
from needlework.report.table import rows
from needlework.storage import read_object, write_text
from needlework.tasks import reads_text
from needlework.visible import visible

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
VERSIONS = ("needlework", "torch", "transformers", "peft", "python")
TRAINED = {"attention": "attention projections", "full": "all parameters", "lora": "LoRA on the attention projections"}

Facts = Iterator[tuple[str, str]]


def begin(run: Path) -> None:
    """Write the card of a run's finetuned model, unless it has one; it says that nothing was evaluated yet."""
    if not _path(run).exists():
        write_text(_path(run), render(run))


def complete(run: Path, before: Path, after: Path) -> None:
    """Add the run's comparison to the card, if it compares the run's finetuned model with its base.

    Args:
        run: The run's folder, with its `comparison.json`.
        before: The evaluation that was compared.
        after: The other one.
    """
    if not _path(run).exists():
        return
    first, second = (
        (read_object(folder / "settings.json", "model") or {}).get("model", {}) for folder in (before, after)
    )
    is_base = first.get("name") == recipes.load(run / "recipe.yaml").model.name
    if is_base and second.get("fingerprint") == fingerprint(str(_path(run).parent)):
        compared = read_object(run / "comparison.json") or {}
        # Of several trainings a card describes its own.
        own = {key: compared[key] for key in compared.keys() - {"others", "mean"}} | {"method": METHOD}
        write_text(_path(run), render(run, own))


def render(run: Path, comparison: Mapping[str, Any] | None = None) -> str:
    """Return the card as text.

    Args:
        run: The run's folder, with a finished training.
        comparison: The content of its `comparison.json`; None where the model was not evaluated.
    """
    import jinja2

    recipe, summary = recipes.load(run / "recipe.yaml"), read_object(run / "train" / "summary.json") or {}
    real_text = recipe.data.file is None and reads_text(recipe.data.task, recipe.data.params)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = {each.__name__: each for each in (plain, text.percent, text.points, text.p_value)}
    environment.filters.update(filters)
    return environment.get_template("card.md.jinja").render(
        metadata=_metadata(recipe),
        recipe=recipe,
        description=_description(recipe),
        train=recipe.train,
        data=recipe.data,
        base=_name(recipe.model.name),
        embedded=f"{embedded.PACKAGE} {embedded.VERSION}" if recipe.model.name == embedded.NAME else "",
        real_text=real_text,
        data_facts=_data(recipe, summary),
        training_facts=_training(recipe, summary, read_object(run / "environment.json") or {}),
        comparison=comparison,
        rows=rows(comparison) if comparison else (),
        verdict=text.verdict(comparison, summary["haystacks"]) if comparison else "",
        limits=text.limits(comparison) if comparison else (),
    )


def plain(given: str) -> str:
    """Return any text as one line of Markdown that reads as it was given, and can begin or end nothing."""
    # An underscore between letters means itself.
    return re.sub(r"[\\`*\[\]<>|#~&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", visible(" ".join(given.split())))


def _description(recipe: Recipe) -> str:
    """Return what the recipe says it is for; nothing where it is a shipped one with another model or other data."""
    for shipped in map(recipes.load, recipes.names()):
        if shipped.description == recipe.description:
            return recipe.description if (shipped.model.name, shipped.data) == (recipe.model.name, recipe.data) else ""
    return recipe.description


def _metadata(recipe: Recipe) -> str:
    """Return the card's front matter; the library quotes in YAML what needs it."""
    from huggingface_hub import ModelCardData

    licensed: dict[str, Any] = dict(license_of(recipe.model.name))
    tags = ["needlework", "long-context", "retrieval", *(["lora"] if recipe.train.trainable == "lora" else [])]
    data = ModelCardData(
        base_model=_name(recipe.model.name),
        base_model_relation="finetune" if recipe.train.merge else "adapter",
        library_name="transformers" if recipe.train.merge else "peft",
        pipeline_tag="text-generation",
        tags=tags,
        **licensed,
    )
    return data.to_yaml()


def _data(recipe: Recipe, summary: Mapping[str, Any]) -> Facts:
    data = recipe.data
    if data.file is not None:
        yield "file", Path(data.file).name
        yield "sha256", str(data.sha256)
        yield "rows", f"{summary['haystacks']:,}, each of at most {data.needles} needles"
    else:
        params = json.dumps(_without_paths(data.params), ensure_ascii=False)
        yield "task", data.task
        yield "parameters", params if data.params else "defaults"
        yield "haystacks", f"{summary['haystacks']:,}, each with {data.needles} needles"
    if data.items is not None:
        yield "items in each", f"{data.items[0]} to {data.items[1]}"
    yield "tokens in each", f"at most {data.max_tokens:,} of prompt and one answer"
    yield "seed", str(recipe.seed)


def _training(recipe: Recipe, summary: Mapping[str, Any], versions: Mapping[str, Any]) -> Facts:
    train = recipe.train
    lora = f", rank {train.lora_rank}, {'merged' if train.merge else 'not merged'}" if train.trainable == "lora" else ""
    yield "trained", TRAINED[train.trainable] + lora
    yield "learning rate", f"{train.learning_rate:g}, {train.schedule}, {train.warmup_steps} warmup steps"
    yield "optimizer", f"AdamW, gradients clipped to a norm of {train.max_grad_norm:g}"
    yield "batch", f"{train.batch_size} haystacks"
    yield "epochs", str(train.epochs)
    yield "steps", str(summary["steps"])
    if "best_step" in summary:
        found = text.percent(summary["held_out_value"])
        yield "step of this model", f"{summary['best_step']}, with {found} of held-out values found"
    yield from (fact for fact in text.training(summary) if fact[0] != "haystacks")
    yield "versions", ", ".join(f"{name} {versions[name]}" for name in VERSIONS if name in versions)


def _without_paths(value: Any) -> Any:
    """Return parameters with each path cut down to its last name."""
    if isinstance(value, Mapping):
        return {key: _without_paths(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(each) for each in value]
    return Path(value).name if isinstance(value, str) else value


def _name(model: str) -> str:
    """Return a model's id on the hub, or the name of its folder."""
    if model == embedded.NAME:
        return embedded.HUB
    folder = folder_of(model)
    if not folder.is_dir() and HUB_ID.fullmatch(model):
        return model
    parts = folder.absolute().parts
    # Every model of ours is called train/model; its run tells it from others.
    return parts[-3] if parts[-2:] == ("train", "model") else parts[-1]


def _path(run: Path) -> Path:
    return run / "train" / "model" / "README.md"
