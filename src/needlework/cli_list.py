"""The command that lists tasks, benchmarks, formats, recipes and settings."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from needlework.errors import UserError

if TYPE_CHECKING:
    from needlework.sections import Section


def list_(what: Annotated[str, typer.Argument(help="tasks, benchmarks, formats, recipes or settings.")]) -> None:
    """List tasks, benchmarks, formats, recipes or settings."""
    from needlework import benchmark_settings
    from needlework import recipe as recipes
    from needlework.dataset.formats import FORMATS
    from needlework.tasks import TASKS

    listings = {
        "tasks": {name: _first_line(sys.modules[kind.__module__]) for name, kind in TASKS.items()},
        "benchmarks": {name: _first_line(kind) for name, kind in benchmark_settings.sections().items()},
        "formats": {name: each.summary for name, each in FORMATS.items()},
        "recipes": {name: recipes.load(name).description for name in recipes.names()},
    }
    if what == "settings":
        print("\n".join(_settings(recipes.Recipe)))
        return
    if what not in listings:
        raise UserError(f"there is no list of {what!r}. Known: {', '.join(listings)}, settings.")
    for name, text in listings[what].items():
        print(
            textwrap.fill(f"{name:20} {text}", max(60, shutil.get_terminal_size().columns), subsequent_indent=" " * 21)
        )


def _settings(section: type[Section], indent: str = "") -> Iterator[str]:
    """Yield a recipe as YAML: each key with its default, and above it what it means."""
    from needlework.sections import Section

    for name, field in section.model_fields.items():
        parts = (each for each in (field.annotation, *get_args(field.annotation)) if isinstance(each, type))
        inner = next((each for each in parts if issubclass(each, Section)), None)
        # A section's help is that of the key, or else its own.
        about = " ".join((field.description or str(inner.__doc__).strip().split("\n\n")[0]).split())
        yield from textwrap.wrap(about, 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        if inner:
            yield f"{indent}{name}:{'' if inner.model_fields else ' {}'}"
            yield from _settings(inner, indent + "  ")
        else:
            yield f"{indent}{name}: {'(required)' if field.is_required() else json.dumps(field.default)}"


def _first_line(thing: Any) -> str:
    return str(thing.__doc__).strip().split("\n")[0]
