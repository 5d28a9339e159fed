"""Questions that nobody can answer, and as many that one can (BIG-bench `known_unknowns`): does the model invent?

The 46 questions have two choices each, one of which is "Unknown". Each is asked with the right choice first and
second, so that a liking for one place cancels out. They are too few to split into halves.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from needlework.benchmarks import Benchmark
from needlework.benchmarks.scoring import contained_match
from needlework.corpus import embedded
from needlework.haystack import Haystack, Needle

PREAMBLE = "Answer the question with one of the choices."
UNKNOWN = "Unknown"
MAX_NEW_TOKENS = 32


def build() -> Benchmark:
    """Build two haystacks for each question, whose items are its choices in either order."""
    made = []
    for index, row in enumerate(embedded("known_unknowns")):
        right, wrong = sorted(row["choices"], key=row["choices"].get, reverse=True)
        for position, choices in enumerate(((right, wrong), (wrong, right))):
            id = f"known_unknowns/{index}"
            needle = Needle(f"{id}/{position + 1}", id, _asked(row), right, (right,), position)
            items = tuple(f"Choice: {choice}" for choice in choices)
            made.append(Haystack(needle.id, "known_unknowns", PREAMBLE, items, (needle,)))
    places = {needle.id: str(needle.position + 1) for haystack in made for needle in haystack.needles}
    meanings = {
        "right": "the answer holds the right choice and not the other",
        "invented": "it holds only the wrong one of a question that nobody can answer; less is better",
        "withheld": "it holds only “unknown” of a question that has an answer; less is better",
    }
    titles = {
        "right": "Known and unknown questions",
        "invented": "Invented an answer that nobody knows",
        "withheld": "Withheld an answer that is known",
    }
    return Benchmark("known_unknowns", made, score, titles, MAX_NEW_TOKENS, stop="\n", places=places, meanings=meanings)


def score(needle: Needle, output: str) -> dict[str, bool]:
    """Score the right choice; an invention, where nobody can know; and "unknown", where one can.

    An output that holds both choices, or neither, chose none.
    """
    choices = _choices()[needle.question]
    held = [choice for choice in choices if contained_match(output, (choice,))]
    right, wrong = held == [needle.answer], len(held) == 1 and held != [needle.answer]
    unanswerable = needle.answer == UNKNOWN
    return {"right": right, "invented": wrong and unanswerable, "withheld": wrong and not unanswerable}


@lru_cache
def _choices() -> dict[str, tuple[str, ...]]:
    """Return the two choices of each question as it is asked."""
    return {_asked(row): tuple(row["choices"]) for row in embedded("known_unknowns")}


def _asked(row: dict[str, Any]) -> str:
    return f"Question: {row['question']}\nAnswer:"
