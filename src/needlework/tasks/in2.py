"""Questions about one segment or several, among random segments (arXiv 2406.19292, baseline IN2).

After An et al., *Make Your LLM Fully Utilize the Context* (arXiv 2404.16811), with FILM-7B's prompt. There GPT-4
writes questions and answers about segments of 128 tokens; here they are SQuAD's questions, answered by the sentence
that answers them, and a question about several segments is one question about each, answered in turn.

Tasks have no tokenizer, so a segment is measured in words: as many whole sentences of an article as fit
`segment_words`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from needlework.corpus import Passage, Question, askable, passages
from needlework.sections import Fraction
from needlework.tasks.draft import Arrangement, Asked, Draft
from needlework.tasks.passages import Stock, draw, make_stock
from needlework.tasks.placing import check
from needlework.tasks.sentences import sentences, support

PREAMBLE = (
    "Below is a context and an instruction. Based on the information provided in the context, write a response "
    "for the instruction.\n\n### Context:"
)
QUESTION = "### Instruction:\n{question}"


@dataclass(frozen=True, slots=True)
class IN2:
    """The parameters of the task."""

    source: str | None = None
    """A file of questions with their passages, .json in SQuAD format or .jsonl; by default the training half of the
    embedded SQuAD."""
    distractors: str | None = None
    """A folder of .txt files, or another such file, for all other segments; by default the source."""
    segment_words: PositiveInt = 96
    """Maximum words in a segment: 96 are 128 tokens at 4/3 tokens per word (SmolLM2 takes 1.34 for this text)."""
    multi_fraction: Fraction = 0.2
    """Share of needles that ask about several segments; in FILM-7B's data, 0.3 of 1.4 million."""
    multi_segments: tuple[Annotated[int, Field(ge=2)], ...] = (2, 3)
    """Segments in such a needle, drawn uniformly from these."""

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw segments, with needles on one or several of them (see `Task.draft`).

        The position of a needle, which `depths` may fix, is that of the first segment it asks about; the
        others may be anywhere.
        """
        check("in2", capacity, num_needles, self.min_items(num_needles), depths)
        several = rng.random(num_needles) < self.multi_fraction
        sizes = np.where(several, rng.choice(self.multi_segments, num_needles), 1).tolist()
        stocks = _stock(self.source, self.segment_words), _stock(self.distractors or self.source, self.segment_words)
        drawn = draw(rng, capacity, sum(sizes), *stocks)
        gold = list(zip(drawn.passages, drawn.questions, strict=False))
        # Row k is the first segment of needle k; further segments follow the first ones of all needles.
        further = iter(gold[num_needles:])
        texts = [_needle([first, *islice(further, size - 1)]) for first, size in zip(gold, sizes, strict=False)]

        def arrange(num_items: int) -> Arrangement:
            places = drawn.place(num_items, depths)
            needles = (
                Asked((question,), (answer,), accepted, at)
                for (question, answer, accepted), at in zip(texts, places, strict=False)
            )
            return Arrangement(num_items, places, tuple(needles))

        return Draft("in2", PREAMBLE, [each.text for each in drawn.passages], arrange, unordered=True)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest segments that can hold the needles, if all of them ask about several."""
        return num_needles * (max(self.multi_segments) if self.multi_fraction else 1)


def _needle(gold: Sequence[tuple[Passage, Question]]) -> tuple[str, str, tuple[str, ...]]:
    """Return question, answer and accepted strings of a needle on one or several segments."""
    question = QUESTION.format(question=" ".join(each.text for _, each in gold))
    answer = " ".join(support(segment.text, each) for segment, each in gold)
    # Any accepted string counts as a match, so for several answers only the whole is accepted.
    return question, answer, gold[0][1].accepted if len(gold) == 1 else (answer,)


@lru_cache
def _stock(source: str | None, segment_words: int) -> Stock:
    return make_stock(segments(passages(source), segment_words))


def segments(found: Iterable[Passage], words: int) -> Iterator[Passage]:
    """Cut articles, consecutive passages of one title, into segments of whole sentences.

    A segment has at most `words` words, and the questions that one of its sentences answers; a longer
    sentence is cut. Passages without a title are cut on their own.
    """
    for _, article in groupby(found, key=lambda passage: passage.title or passage.text):
        parts: list[str] = []
        asked: list[Question] = []
        length = 0
        for part, questions in _parts(article, words):
            count = part.count(" ") + 1
            if parts and length + count > words:
                yield Passage("", " ".join(parts), tuple(asked))
                parts, asked, length = [], [], 0
            parts.append(part)
            asked += questions
            length += count
        yield Passage("", " ".join(parts), tuple(asked))


def _parts(article: Iterable[Passage], words: int) -> Iterator[tuple[str, Sequence[Question]]]:
    """Yield sentences, long ones in parts, with the questions that each answers."""
    for passage in article:
        answered: dict[str, list[Question]] = {}
        for question in askable(passage.questions):
            answered.setdefault(support(passage.text, question), []).append(question)
        for sentence in sentences(passage.text):
            split = sentence.split()
            for start in range(0, len(split), words):
                yield " ".join(split[start : start + words]), answered.pop(sentence, ())
