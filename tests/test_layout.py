"""Who may import whom, and that every module has its tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "needlework"

# The table of the design. A folder may import itself; `pipeline`, `cli` and the like tie things together.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "haystack": {"storage", "errors"},
    "matching": set(),
    "corpus": {"matching", "storage", "errors"},
    "storage": {"errors"},
    "downloads": {"storage", "errors"},
    "visible": set(),
    "memory": set(),
    "progress": set(),
    "environment": {"visible"},
    "processes": {"errors"},
    "interrupt": set(),
    "remote": {"errors"},
    "tasks": {"haystack", "corpus", "matching", "sections", "errors"},
    "benchmarks": {"benchmark_settings", "haystack", "tasks", "corpus", "downloads", "matching", "errors"},
    "models": {"haystack", "memory", "storage", "errors"},
    "dataset": {"haystack", "corpus", "tasks", "models", "storage", "errors"},
    "train": {
        *("haystack", "models", "dataset", "recipe", "storage", "memory", "processes", "remote", "visible", "errors"),
    },
    "inference": {"haystack", "models", "memory", "remote", "storage", "errors"},
    "measures": {"haystack", "corpus", "models", "dataset", "train", "inference", "storage", "errors"},
    "harness": {"benchmark_settings", "haystack", "benchmarks", "models", "inference", "matching", "storage", "errors"},
    "report": {"haystack", "storage", "visible", "errors"},
    "looking": {"haystack", "models", "dataset", "visible", "errors"},
    "sections": {"errors"},
    "benchmark_settings": {"sections", "corpus", "errors"},
    "plain_yaml": set(),
    "recipe": {"benchmark_settings", "sections", "overrides", "plain_yaml", "storage", "errors"},
    "overrides": {"plain_yaml", "storage", "errors"},
    "preparation": {
        "own_data",
        "recipe",
        "dataset",
        "tasks",
        "train",
        "models",
        "processes",
        "progress",
        "storage",
        "errors",
    },
    "own_data": {"recipe", "dataset", "models", "storage", "errors"},
    "convert": {"haystack", "corpus", "errors"},
    "card": {"recipe", "report", "models", "tasks", "storage", "visible"},
    "evaluation_folder": {"environment", "storage", "errors"},
    "official": {
        *("haystack", "recipe", "benchmark_settings", "sections", "plain_yaml", "tasks"),
        *("models", "dataset", "storage", "progress", "errors"),
    },
}
TIES = {
    *("pipeline", "evaluation", "analysis", "backends", "served", "generation", "hosted"),
    *(
        "cli",
        "cli_compare",
        "cli_convert",
        "cli_data",
        "cli_evaluate",
        "cli_harness",
        "cli_hosted",
        "cli_list",
        "cli_plan",
    ),
    *("__init__", "__main__"),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_parts(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "needlework":
            names = [f"needlework.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("needlework.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    name = part(path)
    if name not in TIES:
        assert imported_parts(path) <= MAY_IMPORT[name] | {name}


def test_the_table_names_every_part() -> None:
    assert {part(path) for path in MODULES} == MAY_IMPORT.keys() | TIES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_has_its_tests(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    if path.stem == "__main__":
        return  # tested through the command line
    if path.stem == "__init__":
        name = relative.parent.name or "needlework"
        candidates = [ROOT / "tests" / relative.parent / f"test_{name}.py"]
        if len(path.read_text().splitlines()) < 8:
            return  # a docstring or re-exports, with nothing to test
    else:
        candidates = [ROOT / "tests" / relative.parent / f"test_{path.stem}.py"]
    tested = (candidate.exists() and "\ndef test_" in candidate.read_text() for candidate in candidates)
    assert any(tested), f"{candidates[0].relative_to(ROOT)} is missing, or has no test"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
