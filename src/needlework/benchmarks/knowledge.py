"""Closed-book facts (BIG-bench `qa_wikidata`): does the model still know what it knew?

Exact and contained match are both reported: after finetuning a model often answers in another form, and
exact match alone would take that for lost knowledge.
"""

from __future__ import annotations

import numpy as np

from needlework.benchmark_settings import Knowledge
from needlework.benchmarks import Benchmark
from needlework.benchmarks.scoring import contained_match, exact_match
from needlework.corpus import embedded
from needlework.errors import UserError
from needlework.haystack import Haystack, Needle
from needlework.matching import normalize

PREAMBLE = "Complete the sentence with a few words."
MAX_NEW_TOKENS = 16


def build(settings: Knowledge, *, seed: int) -> Benchmark:
    """Build one haystack without items for each of `settings.facts` facts, drawn by the seed.

    Raises:
        UserError: If there are fewer facts.
    """
    facts, half = settings.facts, settings.half
    # Normalising leaves nothing of an answer such as blood type "A", which any output would then hold.
    rows = [row for row in embedded("qa_wikidata", half) if all(map(normalize, row["accepted"]))]
    if facts > len(rows):
        raise UserError(f"knowledge has {len(rows)} facts in the {half} half, fewer than the {facts} asked for.")
    made = []
    for index in np.random.default_rng(seed).permutation(len(rows))[:facts].tolist():
        row, id = rows[index], f"knowledge/{index}"
        needle = Needle(id, id, row["prompt"], row["accepted"][0], tuple(row["accepted"]), position=-1)
        made.append(Haystack(id, "knowledge", PREAMBLE, (), (needle,)))
    meanings = {
        "contained": "the first line of the answer holds the fact",
        "exact": "it is the fact and nothing else, or the sentence completed by it",
    }
    titles = {"contained": "Closed-book facts", "exact": "Closed-book facts, exact"}
    return Benchmark("knowledge", made, score, titles, MAX_NEW_TOKENS, stop="\n", meanings=meanings)


def score(needle: Needle, output: str) -> dict[str, bool]:
    """Score contained and exact match."""
    return {
        "contained": contained_match(output, needle.accepted),
        # Asked to complete a sentence, a model may well repeat it.
        "exact": exact_match(output, [*needle.accepted, *(f"{needle.question} {each}" for each in needle.accepted)]),
    }
