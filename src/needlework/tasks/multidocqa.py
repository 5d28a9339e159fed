"""Questions over several documents, answered after restating the gold one (arXiv 2406.19292, baseline MultidocQA).

After Yu, *Training With "Paraphrasing the Original Text"* (arXiv 2312.11193), whose answers first restate the
original passage, in a model's words. There is no model here, so ours quotes the whole document; the wording
around it is ours too. Prompt, documents and questions are those of `mdqa`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from needlework.corpus import Passage, Question
from needlework.tasks.draft import Draft, Parts
from needlework.tasks.mdqa import MDQA, draft_documents
from needlework.tasks.passages import stock


@dataclass(frozen=True, slots=True)
class MultidocQA(MDQA):
    """The parameters of the task: those of `mdqa`."""

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
        return draft_documents("multidocqa", _restated, *stocks, rng, capacity, num_needles, depths)


def _restated(passage: Passage, question: Question, number: int) -> Parts:
    # Annotators mark spans of several lengths around one answer; the shortest is the answer itself.
    answer = min(question.accepted, key=len)
    return ("According to Document [", number, f'], "{passage.text}" So the answer is: {answer}')
