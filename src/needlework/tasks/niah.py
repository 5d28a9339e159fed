"""Needle in a haystack: a sentence with a number, somewhere in running prose (arXiv 2406.19292, baseline).

After Kamradt's test, with numbers in the needle so that it teaches no fact; the paper does not give its needle,
the wording is ours. A line is a sentence, so budgets are filled to within a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice

import numpy as np

from needlework.corpus import passages
from needlework.errors import UserError
from needlework.tasks.draft import Arrangement, Asked, Draft, Parts, text
from needlework.tasks.placing import check, place
from needlework.tasks.sentences import sentences

PREAMBLE = "Read the text below and answer the question that follows it."
LOCKERS = range(1000, 10_000)
CODES = range(100_000, 1_000_000)


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
        """Draw needle sentences, and prose that runs on from a random sentence (see `Task.draft`)."""
        check("niah", capacity, num_needles, num_needles, depths)
        if num_needles > len(LOCKERS):
            raise UserError(f"niah has {len(LOCKERS)} lockers, fewer than the {num_needles} needles asked for.")
        lockers = rng.choice(LOCKERS, num_needles, replace=False).tolist()
        codes = (CODES.start + rng.choice(len(CODES), num_needles, replace=False)).tolist()
        draws, start = rng.random(num_needles), rng.random()
        needles = [_needle(locker, code) for locker, code in zip(lockers, codes, strict=True)]
        prose = islice(_prose(self.source, start, codes), capacity - num_needles)
        contents = [*map(text, needles), *prose]

        def arrange(num_items: int) -> Arrangement:
            if num_items > len(contents):
                raise UserError(
                    f"the text has {len(contents) - num_needles} sentences, with {num_needles} needles too few for a "
                    f"haystack of {num_items} items. Give more text or ask for fewer tokens."
                )
            places = place(draws, num_items, depths)
            asked = tuple(
                Asked(("What is the access code of locker ", locker, "?"), needle, (str(code),), at)
                for locker, code, needle, at in zip(lockers, codes, needles, places, strict=True)
            )
            return Arrangement(num_items, places, asked)

        return Draft("niah", PREAMBLE, contents, arrange)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest sentences that hold so many needles, one each."""
        return num_needles


def _needle(locker: int, code: int) -> Parts:
    return ("The access code of locker ", locker, " is ", code, ".")


def _prose(source: str | None, start: float, codes: Sequence[int]) -> Iterator[str]:
    """Yield each sentence of the text once, from a relative start on, but for those that hold a code."""
    running, avoid = _sentences(source), list(map(str, codes))
    first = int(start * len(running))
    for sentence, digits in chain(islice(running, first, None), islice(running, first)):
        if not any(code in digits for code in avoid):
            yield sentence


@lru_cache
def _sentences(source: str | None) -> tuple[tuple[str, str], ...]:
    """Return the sentences of a source, each with all its digits, in which codes are looked for."""
    found = (sentence for passage in passages(source) for sentence in sentences(passage.text))
    return tuple((sentence, re.sub(r"\D", "", sentence)) for sentence in found)
