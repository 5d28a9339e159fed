from __future__ import annotations

import pytest

from needlework.progress import Silent, Terminal


def test_without_a_terminal_a_bar_is_a_line_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Terminal()
    with progress.bar("train") as update:
        for step in range(101):
            update(step, 100, f"loss {step}")
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 11
    assert lines[3] == "train: 30/100 loss 30"


def test_text_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().say("[red]items[/red]")
    assert capsys.readouterr().err == "[red]items[/red]\n"


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Silent()
    progress.say("x")
    with progress.bar("y") as update:
        update(1, 2, "z")
    assert capsys.readouterr() == ("", "")
