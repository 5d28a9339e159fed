"""Needle in a haystack: a sentence with a number, somewhere in continuous prose (arXiv 2406.19292, baseline).

After Kamradt's test, with numbers in the needle so that it teaches no fact; the paper does not give its needle,
so the wording is ours. Each line is a sentence, so budgets are filled to within a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice

import numpy as np

from needlework.corpus import Passage, passages
from needlework.errors import UserError
from needlework.tasks.draft import Arrangement, Asked, Draft, Parts
from needlework.tasks.draft import text as as_text
from needlework.tasks.placing import check, place
from needlework.tasks.sentences import sentences

PREAMBLE = "Read the text below and answer the question that follows it."
LOCKERS = range(1000, 10_000)
CODES = range(100_000, 1_000_000)

Sentence = tuple[str, str]
"""A sentence, and all its digits, which are searched for codes."""


@dataclass(frozen=True, slots=True)
class NIAH:
    """The parameters of the task."""

    source: str | None = None
    """A folder of .txt files, or a file of passages as `mdqa` takes it; by default the training half of the
    embedded SQuAD."""

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw needle sentences, and prose that starts at a random sentence (see `Task.draft`)."""
        return draft_prose(_sentences(self.source), rng, capacity, num_needles, depths)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest sentences that can hold the needles, one each."""
        return num_needles


def draft_prose(
    text: Sequence[Sentence],
    rng: np.random.Generator,
    capacity: int,
    num_needles: int,
    depths: Sequence[float] | None,
    *,
    one_locker: bool = False,
) -> Draft:
    """Draw needle sentences, and prose that starts at a random sentence of a text (see `Task.draft`).

    Args:
        text: Source of the prose.
        rng: Source of all randomness.
        capacity: Sentences to draw.
        num_needles: Needles, each a sentence of its own.
        depths: Fixed relative depths of the needles, instead of random ones.
        one_locker: Whether all codes belong to one locker. All needles then ask the same question, for all of its
            codes; each accepts its own.

    Raises:
        UserError: If there are too few lockers, or when more sentences are arranged than the text has.
    """
    check("niah", capacity, num_needles, num_needles, depths)
    if num_needles > len(LOCKERS):
        raise UserError(f"niah has {len(LOCKERS)} lockers, fewer than the {num_needles} needles asked for.")
    lockers = rng.choice(LOCKERS, num_needles, replace=False).tolist()
    codes = (CODES.start + rng.choice(len(CODES), num_needles, replace=False)).tolist()
    draws, start = rng.random(num_needles), rng.random()
    inserted = _codes(lockers[0], codes) if one_locker else [*map(_code, lockers, codes)]
    prose = islice(_prose(text, start, codes), capacity - num_needles)
    contents = [*(as_text(sentence) for sentence, _, _ in inserted), *prose]

    def arrange(num_items: int) -> Arrangement:
        if num_items > len(contents):
            raise UserError(
                f"the text has {len(contents) - num_needles} sentences, with {num_needles} needles too few for a "
                f"haystack of {num_items} items. Give more text or ask for fewer tokens."
            )
        places = place(draws, num_items, depths)
        asked = tuple(
            Asked(question, answer, (str(code),), at)
            for (_, question, answer), code, at in zip(inserted, codes, places, strict=True)
        )
        return Arrangement(num_items, places, asked)

    return Draft("niah", PREAMBLE, contents, arrange)


def _code(locker: int, code: int) -> tuple[Parts, Parts, Parts]:
    """Return the sentence, the question and the answer about a locker with a single code."""
    sentence = ("The access code of locker ", locker, " is ", code, ".")
    return sentence, ("What is the access code of locker ", locker, "?"), sentence


def _codes(locker: int, codes: Sequence[int]) -> list[tuple[Parts, Parts, Parts]]:
    """Return the sentence about each code of a locker, and the question and the answer about all of them."""
    question = ("What are all the access codes of locker ", locker, "?")
    listed = [part for code in codes for part in (", ", code)][1:]
    answer = ("The access codes of locker ", locker, " are ", *listed, ".")
    return [(("One of the access codes of locker ", locker, " is ", code, "."), question, answer) for code in codes]


def _prose(text: Sequence[Sentence], start: float, codes: Sequence[int]) -> Iterator[str]:
    """Yield each sentence of the text once, beginning at a relative start, except those that contain a code."""
    avoid = list(map(str, codes))
    first = int(start * len(text))
    for sentence, digits in chain(islice(text, first, None), islice(text, first)):
        if not any(code in digits for code in avoid):
            yield sentence


@lru_cache
def _sentences(source: str | None) -> tuple[Sentence, ...]:
    return cut(passages(source))


def cut(found: Iterable[Passage]) -> tuple[Sentence, ...]:
    """Return the sentences of passages, in their order."""
    return tuple((sentence, re.sub(r"\D", "", sentence)) for passage in found for sentence in sentences(passage.text))
