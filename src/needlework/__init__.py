"""Needlework: make language models use their long contexts, and prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from needlework.errors import UserError
from needlework.haystack import Haystack, Needle, Prediction, read, write

if TYPE_CHECKING:
    from needlework.generation import generate
    from needlework.pipeline import evaluate, finetune, run, write_comparison
    from needlework.progress import Terminal
    from needlework.recipe import Recipe
    from needlework.recipe import load as load_recipe
    from needlework.report.comparison import compare
    from needlework.report.gate import gate
    from needlework.report.page import write_report

__all__ = [
    "Haystack",
    "Needle",
    "Prediction",
    "Recipe",
    "Terminal",
    "UserError",
    "compare",
    "evaluate",
    "finetune",
    "gate",
    "generate",
    "load_recipe",
    "read",
    "run",
    "write",
    "write_comparison",
    "write_report",
]

_LAZY = {
    "run": ("pipeline", "run"),
    "evaluate": ("pipeline", "evaluate"),
    "finetune": ("pipeline", "finetune"),
    "write_comparison": ("pipeline", "write_comparison"),
    "write_report": ("report.page", "write_report"),
    "generate": ("generation", "generate"),
    "gate": ("report.gate", "gate"),
    "Terminal": ("progress", "Terminal"),
    "compare": ("report.comparison", "compare"),
    "Recipe": ("recipe", "Recipe"),
    "load_recipe": ("recipe", "load"),
}


def __getattr__(name: str) -> Any:
    # The recipe's types take a tenth of a second to import, which `needlework --help` should not pay.
    if name in _LAZY:
        from importlib import import_module

        module, attribute = _LAZY[name]
        return getattr(import_module(f"needlework.{module}"), attribute)
    raise AttributeError(f"module 'needlework' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
