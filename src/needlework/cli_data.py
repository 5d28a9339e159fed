"""The commands that look at data, and how a command line names what to generate."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from needlework.errors import RecipeError, UserError

if TYPE_CHECKING:
    from needlework.looking.inspection import Regenerated
    from needlework.recipe import Recipe

Source = Annotated[
    str, typer.Argument(metavar="TASK|RECIPE|FILE", help="A task, a recipe, a YAML file, or a file of haystacks.")
]
Tokenizer = Annotated[str | None, typer.Option("--model", help="Model whose tokenizer counts; default: the recipe's.")]
MaxTokens = Annotated[int | None, typer.Option(help="Token limit of prompt and answer together.")]
Needles = Annotated[int | None, typer.Option(help="Needles per haystack.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of the dataset.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Override a value of the recipe; see `needlework list settings`."),
]


def show(
    source: Source,
    model: Tokenizer = None,
    max_tokens: MaxTokens = None,
    needles: Needles = None,
    seed: Seed = None,
    index: Annotated[int, typer.Option(min=0, max=sys.maxsize - 1, help="Number of the sample, from 0.")] = 0,
    full: Annotated[bool, typer.Option("--full", help="Show every item and question, not only the gold ones.")] = False,
    set: Set = None,
) -> None:
    """Print a sample with its gold pairs and supervised text."""
    from rich.console import Console

    from needlework import own_data, preparation
    from needlework import recipe as recipes
    from needlework.looking.show import show as page

    values = {"model.name": model, "data.max_tokens": max_tokens, "data.needles": needles, "seed": seed}
    if _names_haystacks(Path(source)):
        # As `finetune --data` trains on it by default.
        loaded = recipes.load("smollm2-135m", [*own_data.overrides(Path(source)), *changes(values, set)])
    else:
        loaded = synthetic(source, values, set)
        if loaded.data.file is None:
            # A sample does not depend on how many there are.
            loaded = loaded.model_copy(update={"data": loaded.data.model_copy(update={"haystacks": index + 1})})
    data, _ = preparation.training_data(loaded, preparation.make_renderer(loaded.model))
    if index >= len(data):
        raise UserError(f"--index {index} is beyond the {len(data)} rows of {source}, which are counted from 0.")
    console = Console(highlight=False)
    console.print(page(data, index, full=full, plain=console.no_color or not console.color_system))


def inspect(folder: Annotated[Path, typer.Argument(help="Folder of a finished dataset.")]) -> None:
    """Check a dataset's files and print what they hold."""
    from rich.console import Console

    from needlework import official, preparation
    from needlework import recipe as recipes
    from needlework.looking.files import manifests
    from needlework.looking.inspection import inspect as look
    from needlework.looking.inspection import table
    from needlework.progress import Terminal

    progress = Terminal()

    def dataset(settings: Mapping[str, Any]) -> Regenerated:
        if "official" in settings:
            return official.samples(settings)
        recipe = recipes.of_dataset(settings)
        return preparation.dataset(recipe, preparation.make_renderer(recipe.model, settings.get("conversation", False)))

    for number, name in enumerate(manifests(folder)):
        with progress.bar("inspect") as update:
            found = look(folder, dataset, update, name)
        Console(highlight=False).print(*[""] * bool(number), table(found), sep="\n")


def _names_haystacks(path: Path) -> bool:
    """Return whether a path is that of a file of haystacks, by its name or else by its first line."""
    from needlework.recipe import holds_haystacks

    if path.suffix.lower() == ".jsonl" or not path.is_file():
        return path.suffix.lower() == ".jsonl"
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return holds_haystacks(file.readline())


def default_folder(recipe: str) -> Path:
    """Return where a recipe's run goes by default. Names may hold dots, as `gpt-3.5-turbo` does."""
    return Path("runs") / Path(recipe).name.removesuffix(".yaml").removesuffix(".yml")


def synthetic(source: str, values: dict[str, Any], overrides: list[str] | None) -> Recipe:
    """Return a task's recipe of defaults, or the recipe of a name or file, with the values that are given."""
    from needlework import recipe as recipes
    from needlework.sections import suggest
    from needlework.tasks import TASKS

    if source in TASKS:
        return checked(recipes.parse({"data": {"task": source}}, changes(values, overrides)))
    if source not in recipes.names() and not Path(source).exists():
        raise RecipeError(f"there is no task, recipe or file {source!r}.{suggest(source, [*TASKS, *recipes.names()])}")
    return checked(recipes.load(source, changes(values, overrides)))


def changes(values: Mapping[str, Any], overrides: list[str] | None) -> list[str]:
    """Return the changes of a recipe: values that are given, and then overrides."""
    return [f"{key}={json.dumps(value)}" for key, value in values.items() if value is not None] + (overrides or [])


def checked(recipe: Recipe) -> Recipe:
    """Return the recipe, after checking that its task and parameters exist.

    Raises:
        RecipeError: If they do not.
    """
    from needlework.preparation import check_task

    check_task(recipe)
    return recipe
