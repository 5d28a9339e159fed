"""Scoring rules shared by benchmarks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from needlework.matching import normalize


def numbers(text: str) -> list[str]:
    """Return the numbers of a text, digits only, of which 955,416 is one."""
    return re.findall(r"\d+", without_separators(text))


def without_separators(text: str) -> str:
    """Return a text with numbers such as 955,416 written without the commas."""
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)


def first_line(output: str) -> str:
    """Return the output up to the first newline, as lost-in-the-middle scores it."""
    return output.split("\n", 1)[0].strip()


def best_subspan_em(output: str, accepted: Sequence[str]) -> bool:
    """Return whether any accepted answer is a substring of the first line (lost-in-the-middle, metrics.py)."""
    line = normalize(first_line(output))
    return any(normalize(answer) in line for answer in accepted)


def exact_match(output: str, accepted: Sequence[str]) -> bool:
    """Return whether the first line is an accepted answer and nothing else."""
    return normalize(first_line(output)) in {normalize(answer) for answer in accepted}


def contained_match(output: str, accepted: Sequence[str]) -> bool:
    """Return whether the first line holds an accepted answer as whole words."""
    line = f" {normalize(first_line(output))} "
    return any(f" {normalize(answer)} " in line for answer in accepted)
