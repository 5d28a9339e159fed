"""Writing the haystacks of a recipe as training data, for whoever trains elsewhere."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework.corpus import digest
from needlework.errors import UserError
from needlework.preparation import dataset, make_renderer
from needlework.progress import Progress, Silent
from needlework.recipe import Recipe
from needlework.tasks import sources

if TYPE_CHECKING:
    from needlework.dataset.synthetic import SyntheticDataset

PROBED = 4
"""Haystacks made before any is written; a mixture's are of several tasks."""


def generate(
    recipe: Recipe,
    output: Path,
    progress: Progress | None = None,
    *,
    format: str = "messages",
    conversation: bool = False,
    workers: int = 1,
    ray: str | None = None,
) -> dict[str, Any]:
    """Write the haystacks of a recipe as training data, with a manifest, which is returned.

    OpenAI's models get the paper's system message, if the recipe has none.

    Args:
        recipe: Its model, data and seed say what is written.
        output: The folder; what an earlier call began there is completed.
        progress: Where to show progress; by default nowhere.
        format: One of `needlework.dataset.formats.FORMATS`.
        conversation: Write each haystack as one conversation, instead of a row for each needle.
        workers: Processes of this machine.
        ray: Address of a Ray cluster whose nodes make the rows instead.

    Raises:
        UserError: If something of this cannot be; says what.
    """
    from needlework.dataset.formats import openai

    if format == "openai":
        recipe = with_system(recipe, openai.SYSTEM)
    return write(recipe, output, progress, format=format, conversation=conversation, workers=workers, ray=ray)


def with_system(recipe: Recipe, system: str) -> Recipe:
    """Return the recipe with a system message, if it has none of its own."""
    if recipe.model.system is not None:
        return recipe
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"system": system})})


def write(
    recipe: Recipe,
    output: Path,
    progress: Progress | None = None,
    *,
    format: str,
    conversation: bool = False,
    workers: int = 1,
    ray: str | None = None,
) -> dict[str, Any]:
    """Write the haystacks as `generate` does, with the recipe's own system message or none."""
    from needlework.dataset import workers as makers
    from needlework.dataset.export import export
    from needlework.dataset.formats import make_format
    from needlework.models.loading import tokenizer_fingerprint

    progress, chosen = progress or Silent(), make_format(format)
    if ray is not None and workers > 1:
        raise UserError("--workers are processes of this machine, --ray a cluster's: give one of them.")
    model = recipe.model
    renderer = make_renderer(model, conversation)
    data = dataset(recipe, renderer)
    # What most likely cannot be made is refused before anything is written.
    data.largest()
    _tell_of_plain_path(data, model.name, progress)
    settings: dict[str, Any] = {
        "format": format,
        "conversation": conversation,
        "seed": recipe.seed,
        "data": recipe.data.model_dump(mode="json"),
        "model": {"name": model.name, "system": model.system, "tokenizer": tokenizer_fingerprint(renderer.tokenizer)},
        "needlework": importlib.metadata.version("needlework"),
    }
    if own := sources(recipe.data.params):
        settings["sources"] = {source: digest(source) for source in own}
    if chosen.configures:
        settings["train"] = recipe.train.model_dump(mode="json")
    made_by = makers.on_ray(ray) if ray is not None else makers.processes(workers) if workers > 1 else makers.serial
    with progress.bar("generate") as update:
        return export(data, chosen, output, settings, made_by, update)


def _tell_of_plain_path(data: SyntheticDataset, model: str, progress: Progress) -> None:
    """Make the first haystacks; say so where numbers had to be tokenized as text, which takes much longer."""
    for index in range(min(len(data), PROBED)):
        data.draft(index)
    if data.renderer.conversation:
        reason = "conversations are not put together from the ids of their numbers"
    else:
        reason = f"the tokenizer or chat template of {model} does not let ids be put together number by number"
    for task in sorted(data.composer.refused):
        progress.say(f"{task} is tokenized as text, which is as exact but slower: {reason}.")
