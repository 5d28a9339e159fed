"""Questions over several documents, answered in a full sentence (arXiv 2406.19292, baseline MDQA).

The prompt is the official one of Liu et al., *Lost in the Middle*. The paper finetunes on full sentences that
contain the answer; ours is the sentence of the gold document that answers the question (see `support`). Documents
and questions come from the training half of the embedded SQuAD, where the paper used NaturalQuestions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from needlework.corpus import Passage, Question
from needlework.tasks.draft import Arrangement, Asked, Draft, Parts
from needlework.tasks.passages import Stock, draw, stock
from needlework.tasks.placing import check
from needlework.tasks.sentences import support

PREAMBLE = (
    "Write a high-quality answer for the given question using only the provided search results "
    "(some of which might be irrelevant)."
)
QUESTION = "Question: {question}\nAnswer:"
OPENING = "Document ["


def document(passage: Passage) -> str:
    """Return what follows the number in a document's line."""
    return f"](Title: {passage.title}) {passage.text}" if passage.title else f"] {passage.text}"


@dataclass(frozen=True, slots=True)
class MDQA:
    """The parameters of the task."""

    source: str | None = None
    """A file of questions with their passages, .json in SQuAD format or .jsonl; by default the training half of the
    embedded SQuAD."""
    distractors: str | None = None
    """A folder of .txt files, or another such file, for all other documents; by default the source."""

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw documents, and one question about each of `num_needles` of them (see `Task.draft`)."""
        stocks = stock(self.source), stock(self.distractors or self.source)
        return draft_documents("mdqa", _sentence, *stocks, rng, capacity, num_needles, depths)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest documents that can hold the needles, one each."""
        return num_needles


def draft_documents(
    task: str,
    answer: Callable[[Passage, Question, int], Parts],
    gold: Stock,
    distractors: Stock,
    rng: np.random.Generator,
    capacity: int,
    num_needles: int,
    depths: Sequence[float] | None,
) -> Draft:
    """Draw a haystack of documents (see `Task.draft`).

    Args:
        task: The task's name.
        answer: Maps a gold document, its question and its number in the haystack to the answer to train on.
        gold: Source of the gold documents and their questions.
        distractors: Source of the other documents.
        rng: Source of all randomness.
        capacity: Documents to draw.
        num_needles: Needles, each on a document of its own.
        depths: Fixed relative depths of the needles, instead of random ones.

    Raises:
        UserError: If there are too few questions, or when more documents are arranged than there are.
    """
    check(task, capacity, num_needles, num_needles, depths)
    drawn = draw(rng, capacity, num_needles, gold, distractors)

    def arrange(num_items: int) -> Arrangement:
        places = drawn.place(num_items, depths)
        needles = []
        for passage, question, at in zip(drawn.passages, drawn.questions, places, strict=False):
            asked = QUESTION.format(question=question.text)
            needles.append(Asked((asked,), answer(passage, question, at + 1), question.accepted, at))
        return Arrangement(num_items, places, tuple(needles), np.arange(1, num_items + 1))

    contents = [document(each) for each in drawn.passages]
    return Draft(task, PREAMBLE, contents, arrange, opening=OPENING, unordered=True)


def _sentence(passage: Passage, question: Question, number: int) -> Parts:
    return (support(passage.text, question),)
