"""The user's own haystacks, in the format of training data, asked and scored (docs/own-data.md)."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np

from needlework.benchmark_settings import Own
from needlework.benchmarks import Benchmark
from needlework.benchmarks.scoring import without_separators
from needlework.errors import DataError
from needlework.haystack import Haystack, Needle, read_named
from needlework.matching import normalize

TITLES = {"contained": "Own haystacks", "exact": "Own haystacks, exact"}
MEANINGS = {"contained": "the output holds an accepted answer", "exact": "it is one and nothing else"}

VARIED = "'-\N{MODIFIER LETTER APOSTROPHE}"
"""Marks that texts write in several forms, as in 2019-2021: with one of these, or with a typographic one."""


def build(settings: Own, *, seed: int) -> Benchmark:
    """Ask the needles of a file.

    Args:
        settings: See `Own`. A `meta.length` in the file is the length that a haystack is tabulated by.
        seed: Chooses the haystacks, which are asked in the order of the file.

    Raises:
        DataError: If the file cannot be read, a line is malformed or cannot be scored, an id comes twice, or there
            are fewer haystacks; names the line.
    """
    file, wanted = settings.file, settings.haystacks
    found = []
    for line, haystack in read_named(Path(file)):
        _check(f"{file}, line {line}", haystack)
        found.append(haystack)
    if not found:
        raise DataError(f"{file} holds no haystacks: it is empty.")
    if wanted is not None:
        if wanted > len(found):
            raise DataError(f"{file} has {len(found)} haystacks, fewer than the {wanted} asked for.")
        chosen = np.random.default_rng(seed).permutation(len(found))[:wanted]
        found = [found[index] for index in sorted(chosen.tolist())]
    places = {needle.id: place(each, needle) for each in found for needle in each.needles}
    return Benchmark("own", found, score, TITLES, settings.max_new_tokens, places=places, meanings=MEANINGS)


def score(needle: Needle, output: str) -> dict[str, bool]:
    """Score whether the output holds an accepted answer as whole words, and whether it is one and nothing else."""
    said = _normalize(output)
    answers = [_normalize(answer) for answer in needle.accepted]
    return {"contained": any(f" {answer} " in f" {said} " for answer in answers), "exact": said in answers}


def _normalize(text: str) -> str:
    """Normalise as SQuAD does, whose punctuation is ASCII's and goes from within numbers, too: 9.50 would be 950."""
    # An accent may be a character of its own, as in files from macOS, or a part of its letter, as models write it.
    text = without_separators(unicodedata.normalize("NFC", text))
    spaced = "".join(" " if _apart(each) else each for each in text)
    return normalize(re.sub(r"(?<=\d)[.,](?=\d)", "\N{MIDDLE DOT}", spaced))


def _apart(character: str) -> bool:
    """Return whether a character separates two words."""
    return character in VARIED or (not character.isascii() and unicodedata.category(character)[0] in "PS")


def place(haystack: Haystack, needle: Needle) -> str:
    """Return where the gold item stands, to the nearest quarter of the haystack; empty where that is not known."""
    last = len(haystack.items) - 1
    if needle.position < 0 or last < 1:
        return ""
    return f"{round(4 * needle.position / last) / 4:.0%}"


def _check(line: str, haystack: Haystack) -> None:
    length = haystack.meta.get("length")
    if not isinstance(length, int | None) or isinstance(length, bool):
        raise DataError(f"{line}: meta.length is {length!r}; it should be a number of tokens, or be left out")
    for index, needle in enumerate(haystack.needles):
        if not needle.accepted:
            raise DataError(f"{line}: needles[{index}] accepts nothing, so no output could hit. Leave accepted out")
        if empty := [answer for answer in needle.accepted if not _normalize(answer)]:
            raise DataError(
                f"{line}: needles[{index}] accepts {empty[0]!r}, of which nothing is left to look for: articles and "
                f"punctuation do not count. Write the answer out"
            )
