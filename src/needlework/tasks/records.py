"""Fictional records in prose, asked about in other words, among siblings that differ in one name.

Trains against two failures of numeric key-value data. Models that match wording miss what a question
paraphrases (NoLiMa, arXiv 2502.05167): here a question shares nothing with its record but names. And
models confuse the gold item with a close relative; the authors of arXiv 2406.19292 found no gain from
relevant distractors. Here every gold record has siblings that share one of its two names and its
surroundings. All names are invented, so no fact is taught.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import NonNegativeInt

from needlework.errors import UserError
from needlework.tasks.dictionaries import at_depths
from needlework.tasks.draft import Arrangement, Asked, Draft, Integers
from needlework.tasks.invented import MONTHS, VALUES, Draws, pick, uniforms
from needlework.tasks.placing import check
from needlework.tasks.record_kinds import Kind, Record, kinds, prose

PREAMBLE = "Answer a question about the records below."
QUESTION = "Answer from the records above in one short sentence. "

# Beyond this, the invented values would run out: a date that answers a question may occur in no other record.
MOST_NEEDLES = 100


@dataclass(frozen=True, slots=True)
class Records:
    """The parameters of the task."""

    kinds: tuple[Literal["person", "part", "order", "voyage"], ...] = ("person", "part", "order", "voyage")
    """Kinds of records in a haystack, drawn uniformly from these."""
    siblings: NonNegativeInt = 3
    """Siblings of each record, which share one of its two names and everything that is not asked for."""

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw `capacity` records: the gold ones, their siblings in turn, then other families.

        Raises:
            UserError: If there are too few records for the needles, or more than 100 needles.
        """
        _check(capacity, num_needles, depths)
        gold_rng, other_rng, form_rng, question_rng, place_rng = rng.spawn(5)
        family = _Families([kinds()[name] for name in self.kinds], self.siblings)
        asked = family.golds(uniforms(gold_rng), num_needles)
        family.fill(uniforms(other_rng), capacity)
        forms, questions = uniforms(form_rng), uniforms(question_rng)
        contents = [prose(record, forms) for record in family.records[:capacity]]
        golds = [(record, name, pick(questions, record.kind.asked[name].questions))
                 for record, name in zip(family.records, asked, strict=False)]  # fmt: skip
        place_seed = int(place_rng.integers(2**63))

        def arrange(num_items: int) -> Arrangement:
            _check(num_items, num_needles, depths)
            order = _order(np.random.default_rng(place_seed), num_items, num_needles, depths)
            places = np.argsort(order).tolist()
            needles = tuple(_needle(*gold, place) for gold, place in zip(golds, places, strict=False))
            return Arrangement(num_items, places, needles)

        return Draft("records", PREAMBLE, contents, arrange)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest records that can hold the needles: one each."""
        return max(1, num_needles)


@dataclass
class _Families:
    """Draws records in families: a head, and siblings that share much with it.

    Two invariants give every question exactly one right answer, and make every other record a wrong one: no two
    records have the same identity, and only a needle's gold record contains its answer.
    """

    kinds: Sequence[Kind]
    siblings: int
    records: list[Record] = field(default_factory=list)
    """All records so far, in the order of the draft's rows."""
    identities: set[tuple[str, ...]] = field(default_factory=set)
    answers: list[str] = field(default_factory=list)

    def golds(self, draws: Draws, count: int) -> list[str]:
        """Add `count` gold records, then the siblings of all in turn; return which value each gold one is asked for."""
        asked: list[str] = []
        while len(asked) < count:
            record = _head(pick(draws, self.kinds), draws)
            name = pick(draws, tuple(record.kind.asked))
            answer = record.values[name]
            # The answer must occur once in its own record and in none before it; those after it avoid it.
            new = record.text.count(answer) == 1 and all(answer not in other.text for other in self.records)
            if new and self._add(record):
                self.answers.append(answer)
                asked.append(name)
        heads = list(self.records)
        for number in range(self.siblings):
            for head in heads:
                self._add_new(_sibling, head, number, draws)
        return asked

    def fill(self, draws: Draws, count: int) -> None:
        """Add families without a needle until there are at least `count` records."""
        while len(self.records) < count:
            kind = pick(draws, self.kinds)
            head = self._add_new(_head, kind, draws)
            for number in range(self.siblings):
                self._add_new(_sibling, head, number, draws)

    def _add_new(self, make: Callable[..., Record], *arguments: object) -> Record:
        while not self._add(record := make(*arguments)):
            pass
        return record

    def _add(self, record: Record) -> bool:
        text = record.text
        if record.identity in self.identities or any(answer in text for answer in self.answers):
            return False
        # No ship sails to where it comes from, and no number has two meanings.
        if len(set(record.values.values())) < len(record.values):
            return False
        self.identities.add(record.identity)
        self.records.append(record)
        return True


def _head(kind: Kind, draws: Draws) -> Record:
    return Record(kind, {name: VALUES[name](draws) for name in (*kind.identity, *kind.shared, *kind.asked)})


def _sibling(head: Record, number: int, draws: Draws) -> Record:
    """Draw a record that shares the head's first name (even numbers) or second, and its surroundings."""
    kind = head.kind
    other = kind.identity[(number + 1) % 2]
    return Record(kind, {**head.values, **{name: VALUES[name](draws) for name in (other, *kind.asked)}})


def _check(num_items: int, num_needles: int, depths: Sequence[float] | None) -> None:
    check("records", num_items, num_needles, num_needles, depths)
    if num_needles > MOST_NEEDLES:
        raise UserError(f"records asks at most {MOST_NEEDLES} needles of a haystack, not {num_needles}.")


def _order(rng: np.random.Generator, num_items: int, num_needles: int, depths: Sequence[float] | None) -> Integers:
    """Return the row at each place: the gold rows at their depths, if given, and all others shuffled."""
    if depths is None:
        return rng.permutation(num_items)
    order = np.full(num_items, -1)
    order[at_depths(depths, num_items)] = np.arange(num_needles)
    order[order < 0] = num_needles + rng.permutation(num_items - num_needles)
    return order


def _needle(record: Record, name: str, question: str, place: int) -> Asked:
    answer = record.values[name]
    day, _, month = answer.partition(" ")
    accepted = (answer, f"{month} {day}") if month in MONTHS else (answer,)
    form = record.kind.asked[name].answer
    return Asked((QUESTION + question.format(**record.values),), (form.format(**record.values),), accepted, place)
