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
    assert lines[0] == "train: 0/100 loss 0"
    assert lines[3] == "train: 30/100 loss 30, 0:00:00 left"


def test_without_a_terminal_a_line_says_how_long_the_rest_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 60.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    with Terminal().bar("train") as update:
        update(40, 100)
        update(60, 100)
    assert capsys.readouterr().err.splitlines() == ["train: 40/100", "train: 60/100, 0:02:00 left"]


def test_text_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().say("[red]items[/red]")
    assert capsys.readouterr().err == "[red]items[/red]\n"


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Silent()
    progress.say("x")
    with progress.bar("y") as update:
        update(1, 2, "z")
    assert capsys.readouterr() == ("", "")
