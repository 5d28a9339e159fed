"""Progress on the terminal: the current stage, how far it has come, and how long it will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Protocol


class Update(Protocol):
    """Called with the work done, the total, and a note such as the current loss."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


class Progress(Protocol):
    """Shows the stages of a run."""

    def say(self, text: str) -> None:
        """Print a line."""

    def bar(self, label: str) -> AbstractContextManager[Update]:
        """Return a context in which a bar is shown."""


class Silent:
    """Shows nothing."""

    def say(self, text: str) -> None:
        pass

    @contextmanager
    def bar(self, label: str) -> Iterator[Update]:
        def update(done: int, total: int, note: str = "") -> None:
            pass

        yield update


class Terminal:
    """Lines and bars on standard error, so that standard output holds results only.

    Where standard error is no terminal, as in CI, a bar becomes a line every ten per cent.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    @contextmanager
    def bar(self, label: str) -> Iterator[Update]:
        if not sys.stderr.isatty():
            yield self._lines(label)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        columns = (
            TextColumn("{task.description:24}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            # Steps differ in length, so the speed is taken over a long stretch.
            Remaining(),
            TextColumn("left"),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console, speed_estimate_period=120) as progress:
            task = progress.add_task(label, total=None, note="")

            def update(done: int, total: int, note: str = "") -> None:
                progress.update(task, completed=done, total=total, note=note)

            yield update

    def _lines(self, label: str) -> Update:
        shown, began = -1, (0, 0.0)

        def update(done: int, total: int, note: str = "") -> None:
            nonlocal shown, began
            tenth = 10 * done // max(1, total)
            if shown < 0:
                began = done, time.perf_counter()
            if tenth != shown:
                shown = tenth
                self.say(f"{label}: {done}/{total} {note}".rstrip() + _left(began, done, total))

        return update


def _left(began: tuple[int, float], done: int, total: int) -> str:
    """Return how long the rest takes at the speed so far, given what was done at the start and when that was."""
    if not began[0] < done < total:
        return ""
    seconds = (time.perf_counter() - began[1]) * (total - done) / (done - began[0])
    return f", {timedelta(seconds=round(seconds))} left"
