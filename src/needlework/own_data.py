"""A recipe that trains on a file of the user's own haystacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from needlework.errors import RecipeError
from needlework.recipe import OF_TASKS, Data, Recipe
from needlework.storage import checksum

if TYPE_CHECKING:
    from needlework.dataset.own import OwnDataset
    from needlework.models.chat import Renderer


def overrides(file: Path) -> list[str]:
    """Return the `a.b=value` overrides that replace a recipe's synthetic haystacks by those of a file.

    The paper's recipes ask one needle of each haystack; all that a file asks of a text is asked together.
    """
    defaults = {key: Data.model_fields[key].default for key in (*OF_TASKS, "needles")}
    values = {**defaults, "file": str(file)}.items()
    # As JSON a value is YAML, but for characters that JSON would write as two.
    return [f"data.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values]


def load(recipe: Recipe, renderer: Renderer) -> OwnDataset:
    """Return the haystacks of the recipe's file.

    Raises:
        DataError: If there is a mistake in the file; names the line.
    """
    from needlework.dataset.own import OwnDataset

    data = recipe.data
    return OwnDataset(_file(recipe), data.needles, data.max_tokens, renderer, recipe.seed)


def count(recipe: Recipe) -> tuple[int, int]:
    """Return the rows of an epoch, and the answers in them.

    Raises:
        DataError: If there is a mistake in the file; names the line.
    """
    from needlework.dataset.own import hold_out, read_rows

    if recipe.data.file is None:
        return recipe.data.haystacks, recipe.data.haystacks * recipe.data.needles
    rows = read_rows(_file(recipe), recipe.data.needles, recipe.seed)
    if recipe.train.check:
        rows, _ = hold_out(rows, recipe.train.check.needles)
    return len(rows), sum(len(row.haystack.needles) for row in rows)


def pin(recipe: Recipe, begun: Recipe | None = None) -> Recipe:
    """Record the checksum of the recipe's file, or compare it with the recorded one.

    Args:
        recipe: The recipe; one without a file is returned as it is.
        begun: The recipe with which a run was begun that is to go on.

    Raises:
        RecipeError: If the file has changed since the checksum was recorded.
        DataError: If the file cannot be read.
    """
    if recipe.data.file is None:
        return recipe
    noted = recipe.data.sha256
    if noted is None and begun is not None and begun.data.file == recipe.data.file:
        noted = begun.data.sha256
    found = checksum(_file(recipe))
    if noted not in (None, found):
        raise RecipeError(
            f"{recipe.data.file} has changed: its sha256 was {noted[:12]}… when the training was set up and is "
            f"{found[:12]}… now. Restore that file, or start over with another --output."
        )
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"sha256": found})})


def _file(recipe: Recipe) -> Path:
    assert recipe.data.file is not None
    return Path(recipe.data.file)
