"""The files of an evaluation's answers: finished, half done, and of prompts that were too long."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from needlework.errors import DataError
from needlework.haystack import Prediction, from_json, read
from needlework.storage import write_text


def skipped_file(path: Path) -> Path:
    """Return where the needles are recorded that a predictions file lacks because their prompts were too long."""
    return path.with_name("skipped-" + path.name.removeprefix("predictions-"))


def read_skipped(path: Path) -> dict[str, str]:
    """Return why needles are missing from a predictions file, by their ids.

    Raises:
        DataError: If the record of it is damaged; names file and line.
    """
    file, found = skipped_file(path), {}
    if not file.exists():
        return {}
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
        if line:
            try:
                record = json.loads(line)
                found[str(record["id"])] = str(record["reason"])
            except (ValueError, TypeError, KeyError):
                raise DataError(f'{file}, line {number}: should hold an "id" and a "reason".') from None
    return found


def write_skipped(path: Path, skipped: Mapping[str, str]) -> None:
    """Record why needles are missing from a predictions file, if any are."""
    if skipped:
        lines = [json.dumps({"id": id, "reason": why}, ensure_ascii=False) for id, why in skipped.items()]
        write_text(skipped_file(path), "\n".join(lines) + "\n")


def read_finished(path: Path, asked: Collection[str]) -> tuple[list[Prediction], dict[str, str]]:
    """Return what a finished predictions file holds, in the order of the ids asked, and why the others are missing.

    Raises:
        DataError: If a line is damaged, or it holds other needles than those asked.
    """
    found, skipped = {each.id: each for each in read(Prediction, path)}, read_skipped(path)
    _check_asked(path, found, asked)
    if missing := set(asked) - found.keys() - skipped.keys():
        raise DataError(f"{path} lacks {len(missing)} needles, such as {min(missing)!r}. Delete it to ask all again.")
    return [found[id] for id in asked if id in found], skipped


def partial_file(path: Path) -> Path:
    """Return where the answers of a predictions file are until all are there."""
    return path.with_name(path.name + ".partial")


def unanswered(path: Path, asked: Collection[str]) -> set[str]:
    """Return the ids that are still to be asked, before or after a kill.

    Raises:
        DataError: If a line of the answers that are there is damaged, or they are those of other needles.
    """
    return set() if path.exists() else set(asked) - read_partial(partial_file(path), asked).keys()


def read_partial(path: Path, asked: Collection[str]) -> dict[str, Prediction]:
    """Return the predictions, by id, of an evaluation that was stopped; a kill may have cut the last line off.

    Raises:
        DataError: If another line is damaged, or it holds other needles than those asked.
    """
    if not path.exists():
        return {}
    *lines, _ = path.read_bytes().split(b"\n")
    found = {}
    for number, line in enumerate(lines, start=1):
        try:
            prediction = from_json(Prediction, line.decode())
        except (DataError, UnicodeDecodeError) as error:
            reason = error if isinstance(error, DataError) else "not UTF-8 text"
            raise DataError(
                f"{path}, line {number}: {reason}. Repair the line, or delete it to ask its needle again; "
                f"the other answers stay."
            ) from None
        found[prediction.id] = prediction
    _check_asked(path, found, asked)
    return found


def _check_asked(path: Path, found: Collection[str], asked: Collection[str]) -> None:
    if stray := set(found) - set(asked):
        raise DataError(f"{path} answers needles that are not asked, such as {min(stray)!r}. Delete it.")
