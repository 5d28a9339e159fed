"""Drawing passages into a haystack: gold ones with a question each, then some that answer none of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from needlework.corpus import Passage, Question, askable, passages
from needlework.errors import UserError
from needlework.matching import normalize
from needlework.tasks.dictionaries import Floats
from needlework.tasks.placing import place
from needlework.tasks.sentences import support


@dataclass(frozen=True, slots=True)
class Stock:
    """Passages to draw from."""

    passages: tuple[Passage, ...]
    normalized: tuple[str, ...]
    """Title and text of each, as answers are looked for in them."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rows of a draft."""

    passages: tuple[Passage, ...]
    """The gold ones first; fewer than were asked for where the text ends."""
    questions: tuple[Question, ...]
    """The question of each gold passage."""
    draws: Floats
    """A draw from [0, 1) for the place of each gold passage."""

    def place(self, num_items: int, depths: Sequence[float] | None) -> list[int]:
        """Return the place of each gold passage (see `needlework.tasks.placing.place`).

        Raises:
            UserError: If there are too few passages.
        """
        if num_items > len(self.passages):
            gold = len(self.questions)
            raise UserError(
                f"the text gives {len(self.passages)} passages, {gold} gold and {len(self.passages) - gold} that "
                f"answer no question asked, too few for a haystack of {num_items} items. "
                f"Give more text, or ask for fewer tokens or needles."
            )
        return place(self.draws, num_items, depths)


@lru_cache
def stock(source: str | None) -> Stock:
    """Return the passages of a source (see `needlework.corpus.passages`) with the questions that can be asked."""
    return make_stock(passages(source))


def make_stock(found: Iterable[Passage]) -> Stock:
    """Return passages with only those questions that a sentence answers, in three letters or more."""
    kept = tuple(
        replace(each, questions=tuple(q for q in askable(each.questions) if support(each.text, q))) for each in found
    )
    return Stock(kept, tuple(normalize(f"{each.title} {each.text}") for each in kept))


def draw(rng: np.random.Generator, capacity: int, num_gold: int, source: Stock, distractors: Stock) -> Drawn:
    """Draw up to `capacity` distinct passages: `num_gold` with a question each, then distractors.

    Only its own passage contains an accepted answer to a question, which also keeps a gold passage from
    reappearing among the distractors.

    Raises:
        UserError: If there are too few questions; says how many there are.
    """
    rows, questions = _gold(rng, num_gold, source)
    draws = rng.random(num_gold)
    answers = [normalize(answer) for question in questions for answer in question.accepted]
    # All indices are drawn whatever the capacity, so that a larger draft begins with the smaller one.
    for index in rng.permutation(len(distractors.passages)).tolist():
        if len(rows) == capacity:
            break
        if not _holds(distractors.normalized[index], answers):
            rows.append(distractors.passages[index])
    return Drawn(tuple(rows), questions, draws)


def _gold(rng: np.random.Generator, count: int, source: Stock) -> tuple[list[Passage], tuple[Question, ...]]:
    """Draw passages and a question about each, none of which is answered by another of the passages."""
    chosen: list[int] = []
    questions: list[Question] = []
    answers: list[str] = []
    for index in rng.permutation(len(source.passages)).tolist():
        if len(chosen) == count:
            break
        candidates = source.passages[index].questions
        if not candidates or _holds(source.normalized[index], answers):
            continue
        question = candidates[int(rng.integers(len(candidates)))]
        own = [normalize(answer) for answer in question.accepted]
        if not any(_holds(source.normalized[other], own) for other in chosen):
            chosen.append(index)
            questions.append(question)
            answers += own
    if len(chosen) < count:
        raise UserError(
            f"the text has {sum(len(each.questions) for each in source.passages)} questions in "
            f"{len(source.passages)} passages that one of their sentences answers, of which {len(chosen)} can share "
            f"a haystack, fewer than the {count} it takes. Give more questions, or ask for fewer needles."
        )
    return [source.passages[index] for index in chosen], tuple(questions)


def _holds(normalized: str, answers: list[str]) -> bool:
    return any(answer in normalized for answer in answers)
