"""What a training begins with: the renderer, the haystacks, and the checks that refuse it at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from needlework import processes
from needlework.errors import ModelError, RecipeError
from needlework.progress import Progress
from needlework.recipe import Model, Recipe
from needlework.storage import checksum

if TYPE_CHECKING:
    from needlework.dataset.own import OwnDataset
    from needlework.dataset.synthetic import SyntheticDataset
    from needlework.models.chat import Renderer


def make_renderer(model: Model, conversation: bool = False) -> Renderer:
    """Return the renderer of a model, for which its weights are not needed."""
    from needlework.models.chat import Renderer
    from needlework.models.loading import load_tokenizer

    tokenizer = load_tokenizer(model.name, trust_remote_code=model.trust_remote_code)
    return Renderer(tokenizer, model.system, conversation)


def training_data(
    recipe: Recipe, renderer: Renderer
) -> tuple[SyntheticDataset | OwnDataset, SyntheticDataset | OwnDataset | None]:
    """Return the haystacks that a recipe trains on, of a task or of a file, and those that it is checked by."""
    from needlework.own_data import load

    data = load(recipe, renderer) if recipe.data.file is not None else dataset(recipe, renderer)
    return data.hold_out(recipe.train.check.needles) if recipe.train.check else (data, None)


def dataset(recipe: Recipe, renderer: Renderer) -> SyntheticDataset:
    """Return the synthetic haystacks of a recipe, made when asked for."""
    from needlework.dataset.synthetic import SyntheticDataset
    from needlework.tasks import make_task

    if recipe.data.file is not None:
        raise RecipeError(f"data.file is {recipe.data.file}: only synthetic haystacks are written as training data.")
    return SyntheticDataset(
        task=make_task(recipe.data.task, recipe.data.params),
        size=recipe.data.haystacks,
        num_needles=recipe.data.needles,
        max_tokens=recipe.data.max_tokens,
        num_items=recipe.data.items,
        seed=recipe.seed,
        renderer=renderer,
    )


def check_training(recipe: Recipe, renderer: Renderer, progress: Progress) -> None:
    """Refuse at once what would otherwise fail after the first evaluation, or in the middle of training.

    Raises:
        UserError: If the model or the data cannot be trained on; says why.
    """
    from needlework.models.loading import adapted_by, load_config
    from needlework.train.supported import check

    if recipe.hosted.model is not None:
        raise RecipeError(
            f"the recipe finetunes {recipe.hosted.model} at a host: use `needlework hosted submit`. To finetune "
            f"{recipe.model.name} here instead, set hosted.model=null."
        )
    processes.share(recipe.train.batch_size)
    config = load_config(recipe.model.name, trust_remote_code=recipe.model.trust_remote_code)
    check(config)
    if getattr(config, "quantization_config", None):
        raise ModelError(f"the weights of {recipe.model.name} are quantized. Give the model that they were made from.")
    if not recipe.train.merge and (base := adapted_by(recipe.model.name)):
        raise RecipeError(
            f"{recipe.model.name} is an adapter of {base}. An adapter alone (train.merge=false) would name {base} too, "
            f"and leave out what the first has learned. Set train.merge=true."
        )
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if context is not None and recipe.data.max_tokens > context:
        raise RecipeError(
            f"data.max_tokens is {recipe.data.max_tokens}, but the context of {recipe.model.name} is {context} tokens. "
            f"Lower data.max_tokens."
        )
    if recipe.data.file is not None:
        progress.say(f"Checking {recipe.data.file}")
    for haystacks in training_data(recipe, renderer):
        if haystacks:
            haystacks.largest()
    check_separate(recipe)


def check_task(recipe: Recipe) -> None:
    """Refuse an unknown task or parameter before anything is loaded or written.

    Raises:
        RecipeError: Names the nearest known one.
    """
    from needlework.tasks import make_task

    make_task(recipe.data.task, recipe.data.params)


def check_single(recipe: Recipe, command: str) -> None:
    """Refuse a recipe of several trainings to a command that does one.

    Raises:
        RecipeError: If it has more than one.
    """
    if recipe.trainings > 1:
        raise RecipeError(
            f"the recipe has {recipe.trainings} trainings, but `{command}` does one. Set trainings=1; for the others "
            f"also seed={recipe.seed + 1} and so on. `needlework compare --mean` compares their mean."
        )


def check_separate(recipe: Recipe) -> None:
    """Refuse to measure a model on the text that it is trained on.

    Raises:
        RecipeError: If the recipe's benchmarks ask about the half of the embedded text, or the file, of its haystacks.
    """
    from needlework.tasks import reads_text

    data, chosen = recipe.data, recipe.evaluate
    if data.file is None:
        if not reads_text(data.task, data.params) or (data.task != "mixture" and data.params.get("source")):
            return
        for name in ("mdqa", "perplexity", "drift"):
            section = getattr(chosen, name)
            own = section and (section.file if name == "mdqa" else section.source)
            if section and section.half == "train" and not own:
                raise RecipeError(
                    f"evaluate.{name}.half is train, the half of the embedded text that the task {data.task} trains "
                    f"on. Set evaluate.{name}.half=eval, or give one of them text of its own."
                )
    elif chosen.own and _are_equal(Path(data.file), Path(chosen.own.file)):
        raise RecipeError(
            f"data.file and evaluate.own.file are both {data.file}: a model would be asked what it was trained on. "
            f"Hold texts out, and give their file as evaluate.own.file."
        )


def _are_equal(first: Path, second: Path) -> bool:
    return first.is_file() and second.is_file() and checksum(first) == checksum(second)
