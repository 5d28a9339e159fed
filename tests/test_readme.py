"""The commands that README and docs show exist, with the options they are given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer.main

from needlework import recipe
from needlework.benchmark_settings import MDQA
from needlework.cli import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "benchmarks").glob("*.md"))


def shown(page: Path, program: str) -> list[str]:
    """Return the command lines of a page that begin with a program, in code blocks or on lines of their own."""
    text = re.sub(r"\\\n\s*", "", page.read_text())  # a command may go on on the next line
    return re.findall(rf"^\s*({program} .*?)(?:\s+#.*)?$", text, flags=re.MULTILINE)


COMMANDS = [(page.name, line) for page in PAGES for line in shown(page, "needlework")]


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[line for _, line in COMMANDS])
def test_needlework_commands_parse(page: str, line: str) -> None:
    group = typer.main.get_command(app)
    name, *arguments = shlex.split(line)[1:]
    command = group.commands[name]  # type: ignore[attr-defined]
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    context = command.make_context(name, arguments)
    if "recipe" in context.params:
        assert recipe.load(context.params["recipe"], context.params.get("set") or ())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for line in shown(page, "make"):
        assert set(line.split()[1:2]) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^):]+))?\)", page.read_text()):
        found = page.parent / target if target else page
        assert found.exists(), target
        assert not heading or heading in headings(found), f"{target}#{heading}"


def headings(page: Path) -> set[str]:
    """Return what the headings of a page are called in links."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in found}


def test_the_readme_has_the_two_commands() -> None:
    assert shown(ROOT / "README.md", "make") == ["make quickstart", "make test"]


def test_ci_calls_exactly_the_test_command() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[-1] == "make test"


def test_the_python_example_is_valid_and_short() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    compile(example, "README.md", "exec")
    assert len(example.strip().splitlines()) == 5
    import needlework

    for name in re.findall(r"needlework\.(\w+)", example):
        assert hasattr(needlework, name)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_examples_run(
    page: str, tiny: recipe.Recipe, model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a model, haystacks and benchmarks that take seconds, in place of the recipe's."""
    import needlework
    from needlework.models import loading

    examples = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    mdqa = MDQA(documents=2, positions=(1, 2), paragraphs=2, max_new_tokens=4)
    chosen = {"hosted": recipe.Hosted(), "evaluate": tiny.evaluate.model_copy(update={"mdqa": mdqa})}
    chosen_recipe = tiny.model_copy(update=chosen)

    def load(name: str, overrides: Sequence[str] = ()) -> recipe.Recipe:
        assert recipe.load(name, overrides)
        return chosen_recipe

    monkeypatch.setattr(needlework, "load_recipe", load, raising=False)
    for loads in (loading.load_model, loading.load_tokenizer):

        def small(name: str, loads: Any = loads, **options: Any) -> Any:
            return loads(name if Path(name).exists() else str(model_folder), **options)

        monkeypatch.setattr(loading, loads.__name__, small)
    monkeypatch.chdir(tmp_path)
    for example in examples:
        exec(example.replace("size=60, num_needles=8", "size=4, num_needles=2"), {})
    assert [*tmp_path.rglob("report.html"), *tmp_path.rglob("train/model")]
