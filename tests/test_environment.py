from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from needlework import environment
from needlework.environment import PACKAGES, describe


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/somewhere/bin/needlework", "needlework run 'my recipe'"),
        ("/somewhere/needlework/__main__.py", "python -m needlework run 'my recipe'"),
    ],
)
def test_it_names_versions_and_the_command_without_the_path_of_the_program(
    monkeypatch: pytest.MonkeyPatch, program: str, command: str
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "run", "my recipe"])
    facts = describe()
    assert facts["command"] == command
    assert set(PACKAGES) <= facts.keys()
    assert all(isinstance(value, str) for value in facts.values())


def test_the_state_of_a_checkout_is_that_of_this_package_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        names = ("-c", "user.name=n", "-c", "user.email=e")
        command = ["git", "-C", str(tmp_path), *names, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    git("commit", "--allow-empty", "--message", "of another project")
    installed = tmp_path / "site" / "environment.py"
    installed.parent.mkdir()
    installed.touch()
    monkeypatch.setattr(environment, "__file__", str(installed))
    assert "git commit" not in describe()
    git("add", ".")
    git("commit", "--message", "of this package")
    assert describe()["git commit"] == git("rev-parse", "HEAD")
