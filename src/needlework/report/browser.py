"""What the report's browser of predictions holds: every needle, and what each run said to it, in little space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from needlework.haystack import Prediction
from needlework.report.drawing import RUNS
from needlework.report.run import Answers, Run
from needlework.report.text import clip
from needlework.visible import visible

MOST = 2_000
"""Characters of a text that the page holds; of a longer one it says the length."""

_TAIL = 24
"""Characters that are shown of a beginning that all questions of a benchmark share."""


class Texts:
    """Texts by number: a paragraph asked about at many positions is held once."""

    def __init__(self) -> None:
        self.all: list[str | list[Any]] = []
        """Each a text, or the part of it that is held and its length in characters."""
        self._numbers: dict[tuple[str, tuple[str, ...]], int] = {}

    def add(self, text: str, around: Sequence[str] = ()) -> int:
        """Return a text's number; of a long text the surroundings of a string of `around` are kept."""
        key = (text, tuple(around) if len(text) > MOST else ())
        if key not in self._numbers:
            self._numbers[key] = len(self.all)
            stripped = text.strip()
            shown = visible(clip(stripped, MOST, around))
            self.all.append(shown if len(stripped) <= MOST else [shown, len(stripped)])
        return self._numbers[key]


def embedded(run: Run) -> dict[str, Any]:
    """Return the JSON that browser.js reads.

    Each benchmark is a table of columns, a value for each needle. `outputs` and each of `hits` have one entry for each
    run: numbers of texts, and a string of a character for each needle, "1" for a hit, "0" for a miss and "-" where the
    run was not asked.
    """
    texts = Texts()
    return {
        "runs": run.labels,
        "colors": RUNS,
        "benchmarks": [_benchmark(name, run.titles.get(name, name), run.answers[name], texts) for name in run.answers],
        "texts": texts.all,
    }


def _benchmark(name: str, title: str, answers: Sequence[Answers], texts: Texts) -> dict[str, Any]:
    asked = [next(filter(None, each)) for each in answers]
    sides = list(zip(*answers, strict=True))
    scores = {score: None for each in asked for score in each.extra}
    return {
        "name": visible(name),
        "title": title,
        "shared": _shared([visible(each.question.strip()) for each in asked]),
        "ids": [visible(each.id) for each in asked],
        "places": [visible(each.place) for each in asked],
        "lengths": [each.length for each in asked],
        "tokens": [each.prompt_tokens for each in asked],
        # Of a question that holds a whole document, what is asked stands last.
        "questions": [texts.add(each.question, (each.question.strip()[-_TAIL:],)) for each in asked],
        "golds": [texts.add(each.gold, each.accepted) for each in asked],
        "accepted": [texts.add(" · ".join(each.accepted)) for each in asked],
        "outputs": [[texts.add(each.output) if each else -1 for each in side] for side in sides],
        "hits": {
            "": [_bits(side, "") for side in sides],
            **{visible(score): [_bits(side, score) for side in sides] for score in scores},
        },
    }


def _bits(side: Sequence[Prediction | None], score: str) -> str:
    def bit(each: Prediction | None) -> str:
        found = (each.extra.get(score) if score else each.hit) if each else None
        return "-" if found is None else str(int(found))

    return "".join(map(bit, side))


def _shared(questions: Sequence[str]) -> int:
    """Return how many first characters of a question the list of needles leaves out, because all are the same."""
    if len(questions) < 2:
        return 0
    # The first and the last in order differ as early as any two.
    first, last = min(questions), max(questions)
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    # Some words of it stay, so that the rest can be read.
    return max(0, first.rfind(" ", 0, max(0, same - _TAIL)) + 1)
