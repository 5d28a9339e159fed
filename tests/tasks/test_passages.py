from __future__ import annotations

import numpy as np
import pytest

from needlework.corpus import Passage, Question
from needlework.errors import UserError
from needlework.matching import normalize
from needlework.tasks.passages import Drawn, Stock, draw, make_stock, stock

KINGS = [Passage(f"Land {n}", f"King number {n}00 ruled.", (Question("Who?", (f"{n}00",)),)) for n in range(1, 9)]


def make(capacity: int, num_gold: int, source: Stock, distractors: Stock | None = None, seed: int = 0) -> Drawn:
    return draw(np.random.default_rng(seed), capacity, num_gold, source, distractors or source)


@pytest.mark.parametrize("num_gold", [1, 8])
def test_only_the_gold_passage_holds_an_accepted_answer(num_gold: int) -> None:
    for seed in range(20):
        drawn = make(60, num_gold, stock(None), seed=seed)
        texts = [normalize(f"{passage.title} {passage.text}") for passage in drawn.passages]
        for row, question in enumerate(drawn.questions):
            answers = [normalize(answer) for answer in question.accepted]
            assert [any(answer in text for answer in answers) for text in texts].index(True) == row
            assert sum(any(answer in text for answer in answers) for text in texts) == 1


def test_no_passage_comes_twice_even_when_all_are_drawn() -> None:
    drawn = make(8, 3, make_stock(KINGS))
    assert sorted(passage.title for passage in drawn.passages) == [f"Land {n}" for n in range(1, 9)]


def test_a_larger_draw_begins_with_the_smaller() -> None:
    for seed in range(10):
        small, large = make(20, 4, stock(None), seed=seed), make(200, 4, stock(None), seed=seed)
        assert small.passages == large.passages[:20]
        assert small.questions == large.questions
        assert small.place(20, None) == large.place(20, None)


def test_questions_and_passages_are_drawn_evenly() -> None:
    drawn = [make(8, 3, make_stock(KINGS), seed=seed) for seed in range(800)]
    first = [int(each.passages[0].title.split()[1]) for each in drawn]
    assert np.bincount(first, minlength=9)[1:] == pytest.approx(np.full(8, 100), abs=45)


def test_distractors_may_come_from_another_source() -> None:
    others = make_stock(Passage("", f"Line {n}.") for n in range(20))
    drawn = make(10, 2, make_stock(KINGS), others)
    assert all(passage.title.startswith("Land") for passage in drawn.passages[:2])
    assert all(passage.text.startswith("Line") for passage in drawn.passages[2:])


def test_questions_that_no_sentence_answers_are_not_asked() -> None:
    text = "Zog lies in Tarn."
    asked = Question("Where?", ("Tarn",))
    made = make_stock([Passage("", text, (Question("Who?", ("Bor",)), asked, Question("How?", ("in",))))])
    assert made.passages[0].questions == (asked,)


def test_text_that_runs_out_is_an_error_with_numbers() -> None:
    drawn = make(9, 3, make_stock(KINGS))
    assert len(drawn.place(8, None)) == 3
    with pytest.raises(
        UserError,
        match="gives 8 passages, 3 gold and 5 that answer no question asked, too few for a haystack of 9 items",
    ):
        drawn.place(9, None)
    with pytest.raises(UserError, match=r"8 questions in 8 passages .* of which 8 can share .* fewer than the 9"):
        make(20, 9, make_stock(KINGS))


def test_text_without_questions_is_an_error() -> None:
    with pytest.raises(UserError, match="has 0 questions in 1 passages"):
        make(1, 1, make_stock([Passage("", "No question.")]))
