from __future__ import annotations

import sys

import pytest

from needlework.environment import PACKAGES, describe


def test_it_names_versions_and_the_command_without_the_path_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/needlework", "run", "my recipe"])
    facts = describe()
    assert facts["command"] == "needlework run 'my recipe'"
    assert set(PACKAGES) <= facts.keys()
    assert all(isinstance(value, str) for value in facts.values())
