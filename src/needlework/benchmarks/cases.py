"""What multi-document question answering asks: questions, the document that answers them, and those around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from needlework.benchmark_settings import MDQA
from needlework.benchmarks.distractors import Pool
from needlework.benchmarks.lost_in_the_middle import Documents, read_documents
from needlework.corpus import Passage, Question, askable, squad
from needlework.errors import UserError


@dataclass(frozen=True, slots=True)
class Case:
    """Questions that are asked of the same documents."""

    id: str
    cluster: str
    """What it shares with cases of other documents: the gold passage, or the line of a file."""
    gold: Passage
    questions: Sequence[Question]
    others: Sequence[Passage]
    """Distractors, in their order in the haystack."""
    place: int | None = None
    """Where a file has the gold document, from 1."""


def cases(settings: MDQA, seed: int) -> list[Case]:
    """Draw gold paragraphs, questions of each, and distractors.

    Random distractors are the same for all questions of a paragraph; of relevant ones, each question has its own.

    Args:
        settings: See `MDQA`. Where `lengths` are to be filled, a case has all the documents that there are. A paragraph
            with fewer questions than asked for has all of its own asked.
        seed: The seed of all draws.

    Raises:
        UserError: If there are too few paragraphs or documents, or the file is malformed.
    """
    file, paragraphs = settings.file, settings.paragraphs
    documents = None if settings.lengths else settings.documents
    rows = read_documents(file) if file else []
    source = file or f"the {settings.half} half"
    if rows and rows[0].others:
        found, have = _given(rows, seed), len(rows[0].others) + 1
        if documents not in (None, have):
            raise UserError(
                f"{file} has {have} documents for each question, not {documents}. Set mdqa.documents={have}."
            )
    else:
        # SQuAD has answers that many texts hold by chance; those of a file are asked as they stand there.
        embedded = (replace(each, questions=askable(each.questions)) for each in squad(settings.half))
        golds = [row.gold for row in rows] or list(embedded)
        found = _drawn(golds, None if documents is None else documents - 1, settings, seed)
    chosen = list(islice(found, paragraphs))
    if len(chosen) < paragraphs:
        raise UserError(
            f"mdqa has {len(chosen)} paragraphs in {source} with questions and {_enough(documents)} that hold no "
            f"answer, fewer than the {paragraphs} asked for. Ask for fewer paragraphs or documents."
        )
    return [case for group in chosen for case in group]


def _given(rows: Sequence[Documents], seed: int) -> Iterator[list[Case]]:
    for index in np.random.default_rng(seed).permutation(len(rows)).tolist():
        row = rows[index]
        id = f"mdqa/{row.gold.questions[0].id}"
        yield [Case(id, id, row.gold, row.gold.questions, row.others, row.place)]


def _drawn(golds: Sequence[Passage], count: int | None, settings: MDQA, seed: int) -> Iterator[list[Case]]:
    """Yield the cases of each gold paragraph that has questions with `count` distractors, or all there are."""
    pool = Pool(list(dict.fromkeys(Passage(each.title, each.text) for each in golds)))
    if count is not None and count >= len(pool.passages):
        raise UserError(f"mdqa has {len(pool.passages)} paragraphs, fewer than the {count + 1} documents asked for.")
    several = count is None or count >= len(pool.titles)
    for index in np.random.default_rng(seed).permutation(len(golds)).tolist():
        gold, rng = golds[index], np.random.default_rng([seed, index])
        order = rng.permutation(len(gold.questions))[: settings.questions_per_paragraph]
        questions = [gold.questions[each] for each in order.tolist()]
        if settings.distractors == "random":
            drawn = [(f"mdqa/{index}", questions, pool.random(rng, gold, questions, several=several))]
        else:
            drawn = [(f"mdqa/{each.id}", [each], pool.relevant(gold, each)) for each in questions]
        found = [
            Case(id, f"mdqa/{index}", gold, asked, list(islice(others, count))) for id, asked, others in drawn if asked
        ]
        if whole := [case for case in found if count in (None, len(case.others))]:
            yield whole


def _enough(documents: int | None) -> str:
    return "documents" if documents is None else f"{documents - 1} documents"
