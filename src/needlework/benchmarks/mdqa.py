"""Multi-document question answering (Liu et al., Lost in the Middle) over Wikipedia paragraphs.

Prompts and scoring are the official ones. Questions and paragraphs are SQuAD's, or those of an official file, which
are NaturalQuestions', as in the paper. A question is asked with its paragraph at each of several positions among the
same distractors, so that positions differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np

from needlework.benchmark_settings import MDQA
from needlework.benchmarks import Benchmark, Fit
from needlework.benchmarks.cases import Case, cases
from needlework.benchmarks.scoring import best_subspan_em
from needlework.corpus import Passage
from needlework.errors import UserError
from needlework.haystack import Haystack, Needle
from needlework.tasks.dictionaries import at_depths
from needlework.tasks.draft import Arrangement, Asked, Draft
from needlework.tasks.mdqa import OPENING, PREAMBLE, QUESTION, document

Line = Callable[[int, Passage], str]
"""From a number and a document to its line."""

MEANINGS = {"contained": "the first line of the answer holds an accepted one"}


def build(settings: MDQA, *, seed: int, fit: Fit) -> Benchmark:
    """Build haystacks of documents with the gold one at each position in turn.

    Args:
        settings: See `MDQA`. Random distractors are of different articles while there are so many. Whether `controls`
            are asked, too, is not looked at here.
        seed: Chooses paragraphs, questions and distractors.
        fit: Finds how many documents fit a length.

    Raises:
        UserError: If a position lies outside the documents, there are too few paragraphs or documents, or the file is
            malformed.
    """
    documents, lengths, positions = settings.documents, settings.lengths, settings.positions
    if outside := [] if lengths else [each for each in positions or () if not 1 <= each <= documents]:
        raise UserError(
            f"evaluate.mdqa.positions has {outside[0]}, but evaluate.mdqa.documents is {documents}. Lower the one or "
            f"raise the other."
        )
    found = cases(settings, seed)
    # A document at one place has one text, however many haystacks hold it.
    line = cache(lambda number, passage: f"{OPENING}{number}{document(passage)}")
    if lengths:
        made = [each for case in found for each in _at_lengths(case, lengths, settings.depths, line, fit)]
    else:
        made = [each for case in found for each in _at_positions(case, positions, line)]
    places = {needle.id: place for place, haystack in made for needle in haystack.needles}
    title = "QA over documents" if lengths else f"QA over {documents} documents"
    titles = {"contained": title if settings.distractors == "random" else f"{title}, relevant distractors"}
    haystacks = [haystack for _, haystack in made]
    tokens = settings.max_new_tokens
    return Benchmark("mdqa", haystacks, score, titles, tokens, stop="\n", places=places, meanings=MEANINGS)


def controls(benchmark: Benchmark) -> list[Benchmark]:
    """Return benchmarks that ask each question once without documents, and once with the gold one alone.

    They are the official closed-book and oracle prompts: what a model knows anyway, and what it finds where there is
    nothing to search. The groups are those of the benchmark.
    """
    closed_book: list[Haystack] = []
    oracle: list[Haystack] = []
    asked: set[str] = set()
    for haystack in benchmark.haystacks:
        if haystack.needles[0].group in asked:
            continue
        asked |= {needle.group for needle in haystack.needles}
        _, _, gold = haystack.items[haystack.needles[0].position].partition("]")
        for made, name, preamble, items, position in (
            (closed_book, "closed_book", "", (), -1),
            (oracle, "oracle", haystack.preamble, (f"{OPENING}1]{gold}",), 0),
        ):
            needles = tuple(replace(each, id=f"{each.group}/{name}", position=position) for each in haystack.needles)
            shared = {"cluster": haystack.meta["cluster"]}
            made.append(Haystack(f"{haystack.id}/{name}", "mdqa", preamble, items, needles, shared))
    asked_of = {"closed_book": ("QA, closed book", closed_book), "oracle": ("QA, gold document alone", oracle)}
    return [
        replace(benchmark, name=f"mdqa_{name}", haystacks=haystacks, titles={"contained": title}, places=None)
        for name, (title, haystacks) in asked_of.items()
    ]


def score(needle: Needle, output: str) -> dict[str, bool]:
    """Score with `best_subspan_em`."""
    return {"contained": best_subspan_em(output, needle.accepted)}


def _at_positions(case: Case, positions: Sequence[int] | None, line: Line) -> Iterator[tuple[str, Haystack]]:
    """Yield the haystacks of all the case's documents, and the position of the gold one in each."""
    if positions is None:
        if case.place is None:
            raise UserError("mdqa.positions=null needs an N-document file as mdqa.file. Name the positions.")
        positions = (case.place,)
    for place in positions:
        yield str(place), _haystack(case, len(case.others) + 1, place, str(place), line)


def _at_lengths(
    case: Case, lengths: Sequence[int], depths: Sequence[float], line: Line, fit: Fit
) -> Iterator[tuple[str, Haystack]]:
    """Yield the haystacks of as many documents as fit each length, and the depth of the gold one in each."""
    for length in lengths:
        # The tokens may depend on the order; all depths hold the same documents.
        _, count = fit([partial(_draft, case, depth, length) for depth in depths], length, 1)
        for depth in depths:
            (place,) = at_depths((depth,), count)
            haystack = _haystack(case, count, place + 1, f"{length}/{depth:.0%}", line)
            haystack.meta["length"] = length
            yield f"{depth:.0%}", haystack


def _draft(case: Case, depth: float, length: int, capacity: int) -> Draft:
    """Return the documents as a draft, by which a budget finds how many fit."""
    contents = [document(each) for each in (case.gold, *case.others[: capacity - 1])]

    def arrange(num_items: int) -> Arrangement:
        if num_items > len(contents):
            raise UserError(
                f"mdqa has {len(contents)} documents to put around a question, too few to fill {length} "
                f"tokens. Ask for fewer tokens, or give more text."
            )
        places = at_depths((depth,), num_items)
        needles = (
            Asked((QUESTION.format(question=each.text),), (each.accepted[0],), each.accepted, places[0])
            for each in case.questions
        )
        return Arrangement(num_items, places, tuple(needles), np.arange(1, num_items + 1))

    return Draft("mdqa", PREAMBLE, contents, arrange, opening=OPENING)


def _haystack(case: Case, count: int, place: int, name: str, line: Line) -> Haystack:
    """Return the gold document at a place, from 1, among the first distractors, `count` in all."""
    documents = [*case.others[: place - 1], case.gold, *case.others[place - 1 : count - 1]]
    items = tuple(line(number, passage) for number, passage in enumerate(documents, start=1))
    needles = tuple(
        Needle(
            id=f"{question.id}/{name}",
            group=question.id,
            question=QUESTION.format(question=question.text),
            answer=question.accepted[0],
            accepted=question.accepted,
            position=place - 1,
        )
        for question in case.questions
    )
    return Haystack(f"{case.id}/{name}", "mdqa", PREAMBLE, items, needles, {"cluster": case.cluster})
