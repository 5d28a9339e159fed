"""What the folder of an evaluation holds: what it was begun with, its answers, and whether they are all there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from needlework.environment import describe
from needlework.errors import RecipeError
from needlework.storage import difference, read_object, write_json

DONE = "done"
"""Marker of a finished evaluation: the names of the benchmarks that were asked."""

SUMMARY = "summary.json"
UNFINISHED = "summary.json.partial"
"""The summary of the benchmarks that are done, while others are not."""

SETTINGS, ENVIRONMENT = "settings.json", "environment.json"
"""What the answers depend on, and what the first of them were made with."""


def begin(folder: Path, settings: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Note what the answers depend on, added to what `saved` returned, and what the first of them are made with."""
    if before is None:
        write_json(folder / ENVIRONMENT, describe())
    benchmarks = (before or {}).get("benchmarks", {}) | settings.get("benchmarks", {})
    if (together := settings | {"benchmarks": benchmarks}) != before:
        write_json(folder / SETTINGS, together)


def saved(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return the settings recorded in a folder, or None if it is new.

    Further benchmarks of the same model are no conflict: they are added.

    Raises:
        RecipeError: If the recorded settings conflict with these.
    """
    found, asked = read_object(folder / SETTINGS, "model", "benchmarks"), settings.get("benchmarks", {})
    if found is None:
        return None
    model, began = settings.get("model", {}), found.get("model", {})
    if model.get("fingerprint") and model["fingerprint"] == began.get("fingerprint"):
        # The same weights, in a folder that was moved or is named from elsewhere.
        settings = settings | {"model": model | {"name": began["name"]}}
    elif (other := began.get("name")) != model.get("name"):
        raise RecipeError(
            f"{folder} holds an evaluation of {other}, not of {model.get('name')}. Give another --output, or delete "
            f"the folder."
        )
    shared = {name: section for name, section in found.get("benchmarks", {}).items() if name in asked}
    here = {name: section for name, section in asked.items() if name in shared}
    if differs := difference(found | {"benchmarks": shared}, settings | {"benchmarks": here}):
        raise RecipeError(f"{folder} holds another evaluation: {differs}. Give another --output, or delete the folder.")
    return found


def forget(folder: Path) -> None:
    """Remove a folder that holds no answer yet: whoever corrects a setting may begin it again."""
    if all(path.name in (SETTINGS, ENVIRONMENT) or not path.stat().st_size for path in folder.iterdir()):
        shutil.rmtree(folder)


def finished(folder: Path) -> set[str] | None:
    """Return the benchmarks that were asked to the end; None where none were, or a file of one is gone."""
    path, summary = folder / DONE, read_object(folder / SUMMARY, "benchmarks", "measures")
    if summary is None:
        return None
    files = [predictions_file(folder, name) for name in summary.get("benchmarks", ())]
    files += [measurements_file(folder, name) for name in summary.get("measures", ())]
    if not all(file.exists() for file in (path, *files)):
        return None
    return set(path.read_text(encoding="utf-8", errors="replace").split())


def predictions_file(folder: Path, name: str) -> Path:
    """Return where an evaluation's folder has the predictions of a benchmark."""
    return folder / f"predictions-{name}.jsonl"


def measurements_file(folder: Path, name: str) -> Path:
    """Return where it has the measurements of a measure."""
    return folder / f"measures-{name}.jsonl"
