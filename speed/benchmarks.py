"""How fast benchmarks are built: `python -m speed.benchmarks`, a few seconds.

Haystacks of 20 documents from the embedded text, two questions of each paragraph, each at five positions, and the text
of every prompt. BM25's index is built within the time; imports are not.
"""

from __future__ import annotations

import time

import bm25s  # noqa: F401  # what it takes to import is not what is measured

from needlework.benchmark_settings import MDQA
from needlework.benchmarks import mdqa
from needlework.tasks.draft import Draft

PARAGRAPHS = 1030
"""So many that there are more than 10,000 haystacks with relevant distractors."""


def main() -> None:
    """Print what is built with each kind of distractors, and the seconds it takes."""
    print(f"{'distractors':13}{'questions':>11}{'haystacks':>11}{'prompts':>9}{'characters':>15}{'seconds':>9}")
    for distractors in ("relevant", "random"):
        settings = MDQA(distractors=distractors, paragraphs=PARAGRAPHS)
        start = time.perf_counter()
        built = mdqa.build(settings, seed=0, fit=_no_length)
        prompts = [(haystack, needle) for haystack in built.haystacks for needle in haystack.needles]
        characters = sum(len(haystack.message(needle)) for haystack, needle in prompts)
        seconds = time.perf_counter() - start
        questions = len({needle.group for _, needle in prompts})
        counts = f"{questions:11,}{len(built.haystacks):11,}{len(prompts):9,}{characters:15,}"
        print(f"{distractors:13}{counts}{seconds:9.2f}")


def _no_length(draws: object, max_tokens: int, num_needles: int) -> tuple[list[Draft], int]:
    raise AssertionError("no length is asked for")


if __name__ == "__main__":
    main()
