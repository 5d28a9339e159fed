"""Values of a recipe changed from the command line."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from needlework import plain_yaml
from needlework.errors import DataError, RecipeError
from needlework.storage import unique_keys


def apply(values: dict[str, Any], override: str) -> None:
    """Change one value, in place, by `a.b=value`; the value is read as JSON, and if it is none, as YAML.

    Raises:
        RecipeError: If it does not look like that, or leads through something that holds no keys.
    """
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise RecipeError(f"--set {override!r} should look like train.learning_rate=1e-4.")
    *parents, last = path.split(".")
    section: Any = values
    for parent in parents:
        if section.get(parent) is None:
            section[parent] = {}
        section = section[parent]
        if not isinstance(section, dict):
            raise RecipeError(f"--set {override!r}: {parent} holds no keys.")
    section[last] = _read(override, text)


def _read(override: str, text: str) -> Any:
    # YAML takes the two halves in which JSON writes an emoji for two characters.
    with contextlib.suppress(ValueError, RecursionError):
        try:
            return json.loads(text, object_pairs_hook=unique_keys)
        except DataError as error:
            raise RecipeError(f"--set {override!r}: {error}.") from None
    try:
        value = plain_yaml.parse(text)
    except (ValueError, RecursionError):
        raise RecipeError(f"--set {override[:200]!r}: {text[:200]!r} is not a YAML value.") from None
    # YAML 1.1 takes 1e-4 for a string, which nobody means who does not put it in quotation marks.
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(text)
    return value
