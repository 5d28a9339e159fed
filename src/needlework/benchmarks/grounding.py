"""Questions whose context contradicts what models remember: does the model answer from the context?

The rows are BIG-bench's `contextual_parametric_knowledge_conflicts` (built as Longpre et al. did, arXiv 2109.05052):
questions of Natural Questions whose paragraph had its answer replaced by another name.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from needlework.benchmark_settings import Grounding
from needlework.benchmarks import Benchmark
from needlework.benchmarks.scoring import contained_match
from needlework.corpus import embedded
from needlework.errors import UserError
from needlework.haystack import Haystack, Needle

PREAMBLE = "What is the answer to the question, assuming the context is true."
QUESTION = "Question: {question}\nAnswer:"
MAX_NEW_TOKENS = 32


def build(settings: Grounding, *, seed: int) -> Benchmark:
    """Build one haystack, of one paragraph, for each of `settings.questions` questions, drawn by the seed.

    Raises:
        UserError: If there are fewer questions.
    """
    questions, half = settings.questions, settings.half
    rows = list(embedded("conflicts", half))
    if questions > len(rows):
        raise UserError(
            f"grounding has {len(rows)} questions in the {half} half, fewer than the {questions} asked for."
        )
    made = []
    for index in np.random.default_rng(seed).permutation(len(rows))[:questions].tolist():
        row, id = rows[index], f"grounding/{half}/{index}"
        asked = QUESTION.format(question=row["question"])
        needle = Needle(id, id, asked, row["answer"], (row["answer"],), position=0)
        made.append(Haystack(id, "grounding", PREAMBLE, (f"Context: {row['context']}",), (needle,)))
    meanings = {
        "context": "the first line of the answer holds what the context says",
        "memory": "it holds what is true elsewhere; less is better",
    }
    titles = {"context": "Answers from a context that contradicts memory", "memory": "Answers from memory instead"}
    return Benchmark("grounding", made, score, titles, MAX_NEW_TOKENS, stop="\n", meanings=meanings)


def score(needle: Needle, output: str) -> dict[str, bool]:
    """Score whether the output holds the context's answer, and whether it holds the remembered one."""
    return {
        "context": contained_match(output, needle.accepted),
        "memory": contained_match(output, (_remembered()[needle.question],)),
    }


@lru_cache
def _remembered() -> dict[str, str]:
    """Return the answer that the context contradicts, by question."""
    return {QUESTION.format(question=row["question"]): row["memory"] for row in embedded("conflicts")}
