from __future__ import annotations

import re
from importlib.metadata import version

import pytest

from needlework import plain_yaml
from needlework.recipe import Data, Hosted, Model, Train, parse
from tests.test_cli import call


@pytest.mark.parametrize("what", ["tasks", "benchmarks", "formats", "recipes"])
def test_lists_explain_each_entry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    assert call(monkeypatch, "list", what) == 0
    # Longer ones go on in further lines, which are indented.
    entries = re.sub(r"\n {2,}", " ", capsys.readouterr().out).splitlines()
    assert entries
    assert all(len(entry.split(maxsplit=1)) == 2 for entry in entries)


def test_settings_are_a_recipe_of_all_keys_with_their_defaults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "list", "settings") == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    # Above each key stands what it means.
    assert all(lines[number - 1].strip().startswith("# ") for number, line in enumerate(lines) if "#" not in line)
    found = parse(plain_yaml.parse(printed), ["train.check=null"])
    assert (found.model, found.data, found.train, found.hosted) == (Model(), Data(), Train(), Hosted())
    assert None not in dict(found.evaluate).values()


def test_the_version_is_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"needlework {version('needlework')}\n"
