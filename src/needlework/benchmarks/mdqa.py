"""Multi-document question answering (Liu et al., Lost in the Middle) over Wikipedia paragraphs.

The prompt and scoring are the official ones; questions and paragraphs are SQuAD's, where the paper used
NaturalQuestions. A question is asked with its paragraph at each of several positions among the same
distractors, so that positions differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from needlework.benchmarks import Benchmark
from needlework.benchmarks.scoring import best_subspan_em
from needlework.corpus import Half, Passage, Question, askable, squad
from needlework.errors import UserError
from needlework.haystack import Haystack, Needle
from needlework.matching import normalize
from needlework.tasks.mdqa import OPENING, PREAMBLE, QUESTION, document


def build(
    *,
    documents: int,
    positions: Sequence[int],
    paragraphs: int,
    questions_per_paragraph: int,
    max_new_tokens: int,
    half: Half,
    seed: int,
) -> Benchmark:
    """Build haystacks of `documents` paragraphs with the gold one at each position in turn.

    Args:
        documents: Paragraphs in a haystack, of as many different articles.
        positions: Gold positions, counted from 1.
        paragraphs: Gold paragraphs.
        questions_per_paragraph: Questions asked of each, fewer where it has not as many.
        max_new_tokens: Longest answer; the paper allows 100.
        half: Which half of the articles; settings are chosen on `train` and reported on `eval`.
        seed: Chooses paragraphs, questions and distractors.

    Raises:
        UserError: If a position lies outside the documents, or there are too few paragraphs or articles.
    """
    if outside := [position for position in positions if not 1 <= position <= documents]:
        raise UserError(f"mdqa position {outside[0]} lies outside the {documents} documents.")
    rows = [replace(row, questions=askable(row.questions)) for row in squad(half)]
    articles = {row.title for row in rows}
    if paragraphs > len(rows) or documents > len(articles):
        raise UserError(
            f"mdqa has {len(rows)} paragraphs of {len(articles)} articles in the {half} half, "
            f"fewer than the {paragraphs} paragraphs or {documents} documents asked for."
        )
    made: list[Haystack] = []
    for index in np.random.default_rng(seed).permutation(len(rows)).tolist():
        gold, rng = rows[index], np.random.default_rng([seed, index])
        chosen = rng.permutation(len(gold.questions))[:questions_per_paragraph].tolist()
        questions = [gold.questions[each] for each in chosen]
        others = _distractors(rng, rows, gold, questions, documents - 1)
        if questions and len(others) == documents - 1:
            made += [_haystack(f"mdqa/{index}/{place}", gold, others, questions, place) for place in positions]
        if len(made) == paragraphs * len(positions):
            break
    else:
        raise UserError(
            f"only {len(made) // len(positions)} of {paragraphs} paragraphs have {documents - 1} distractors that "
            f"hold no answer. Ask for fewer documents or paragraphs."
        )
    places = {each.id: str(each.position + 1) for haystack in made for each in haystack.needles}
    titles = {"contained": f"QA over {documents} documents"}
    return Benchmark("mdqa", made, score, titles, max_new_tokens, stop="\n", places=places)


def score(needle: Needle, output: str) -> dict[str, bool]:
    """Score with `best_subspan_em`."""
    return {"contained": best_subspan_em(output, needle.accepted)}


def _distractors(
    rng: np.random.Generator,
    rows: list[Passage],
    gold: Passage,
    questions: list[Question],
    count: int,
) -> list[Passage]:
    """Draw paragraphs of other articles, each of its own, that hold no accepted answer of the questions."""
    answers = [normalize(answer) for question in questions for answer in question.accepted]
    titles = {gold.title}
    found: list[Passage] = []
    for index in rng.permutation(len(rows)).tolist():
        if len(found) == count:
            break
        row = rows[index]
        text = normalize(f"{row.title} {row.text}")
        if row.title not in titles and not any(answer in text for answer in answers):
            titles.add(row.title)
            found.append(row)
    return found


def _haystack(id: str, gold: Passage, others: list[Passage], questions: list[Question], place: int) -> Haystack:
    documents = [*others[: place - 1], gold, *others[place - 1 :]]
    items = tuple(f"{OPENING}{number}{document(passage)}" for number, passage in enumerate(documents, start=1))
    needles = tuple(
        Needle(
            id=f"{question.id}/{place}",
            group=question.id,
            question=QUESTION.format(question=question.text),
            answer=question.accepted[0],
            accepted=question.accepted,
            position=place - 1,
        )
        for question in questions
    )
    return Haystack(id, "mdqa", PREAMBLE, items, needles)
