"""The documents around a gold one: random or nearest to the question, none of which holds an accepted answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from needlework.corpus import Passage, Question
from needlework.matching import normalize
from needlework.tasks.dictionaries import Floats

if TYPE_CHECKING:
    from bm25s import BM25


class Pool:
    """Passages from which distractors are taken.

    Args:
        passages: The passages, each once.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = passages
        self.titles = frozenset(each.title for each in passages)
        self._texts = [f"{each.title} {each.text}" for each in passages]
        self._normalized = list(map(normalize, self._texts))

    def random(
        self, rng: np.random.Generator, gold: Passage, questions: Iterable[Question], *, several: bool
    ) -> Iterator[Passage]:
        """Yield, in random order, passages of other titles that answer none of the questions.

        First comes one of each title, so that haystacks are as varied as the text allows.

        Args:
            rng: Source of the order.
            gold: The passage that answers the questions.
            questions: What is asked.
            several: Whether further passages of those titles follow.
        """
        titles = {gold.title}
        further: list[Passage] = []
        for passage in self._without_answer(rng.permutation(len(self.passages)).tolist(), questions):
            if passage.title not in titles:
                titles.add(passage.title)
                yield passage
            elif passage.title != gold.title:
                further.append(passage)
        if several:
            yield from further

    def relevant(self, gold: Passage, question: Question) -> Iterator[Passage]:
        """Yield the passages that do not answer the question, the best first by BM25, whatever their titles."""
        # Of equals, and of those that share no word with the question, the first in the text come first.
        order = np.argsort(-self._scores(question.text), kind="stable").tolist()
        return (passage for passage in self._without_answer(order, [question]) if passage.text != gold.text)

    def _without_answer(self, order: Iterable[int], questions: Iterable[Question]) -> Iterator[Passage]:
        answers = [normalize(answer) for question in questions for answer in question.accepted]
        for index in order:
            text = self._normalized[index]
            if not any(answer in text for answer in answers):
                yield self.passages[index]

    def _scores(self, query: str) -> Floats:
        from bm25s import tokenize

        (words,) = tokenize([query], return_ids=False, show_progress=False)
        scores: Floats = self._index.get_scores(words) if words else np.zeros(len(self.passages))
        return scores

    @cached_property
    def _index(self) -> BM25:
        from bm25s import BM25, tokenize

        index = BM25()
        index.index(tokenize(self._texts, show_progress=False), show_progress=False)
        return index
