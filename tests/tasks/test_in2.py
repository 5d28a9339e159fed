from __future__ import annotations

import numpy as np
import pytest

from needlework.corpus import Passage, Question, passages
from needlework.errors import UserError
from needlework.tasks import make_task
from needlework.tasks.in2 import IN2, segments
from tests.tasks.contract import assert_keeps_the_contract, made


@pytest.mark.parametrize("multi_fraction", [0.0, 0.5])
def test_it_keeps_the_contract_of_tasks(multi_fraction: float) -> None:
    assert_keeps_the_contract(IN2(multi_fraction=multi_fraction))


def test_the_prompt_has_the_form_of_film() -> None:
    haystack = made(IN2(), 12, 4)
    before, context, instruction = haystack.message(haystack.needles[0]).split("\n\n### ")
    assert before.startswith("Below is a context and an instruction. Based on the information provided")
    assert context == "Context:\n\n" + "\n".join(haystack.items)
    assert instruction.startswith("Instruction:\n")


def test_a_question_about_one_segment_is_answered_by_a_sentence_of_it() -> None:
    for seed in range(10):
        haystack = made(IN2(multi_fraction=0), 20, 8, seed)
        for needle in haystack.needles:
            assert needle.answer in haystack.items[needle.position]


def test_a_question_about_several_segments_is_answered_from_each() -> None:
    task = IN2(multi_fraction=1, multi_segments=(3,))
    for seed in range(10):
        haystack = made(task, 12, 4, seed)
        held: set[int] = set()
        for needle in haystack.needles:
            rest, places = needle.answer, []
            while rest:
                # The longest beginning of what is left that stands in a segment is a sentence or more.
                place, length = max(((p, _shared(rest, item)) for p, item in enumerate(haystack.items)), key=_second)
                places.append(place)
                rest = rest[length:].lstrip()
            assert len(places) == len(set(places)) == 3
            assert places[0] == needle.position
            assert needle.accepted == (needle.answer,)
            held |= set(places)
        assert len(held) == 12


def _shared(answer: str, item: str) -> int:
    return max((end for end in range(len(answer) + 1) if answer[:end] in item), default=0)


def _second(pair: tuple[int, int]) -> int:
    return pair[1]


def test_the_share_of_questions_about_several_segments_is_as_configured() -> None:
    task = IN2(multi_fraction=0.25)
    needles = [needle for seed in range(60) for needle in made(task, 30, 10, seed).needles]
    several = [needle.accepted == (needle.answer,) for needle in needles]
    assert np.mean(several) == pytest.approx(0.25, abs=0.06)


def test_segments_are_whole_sentences_up_to_the_words_allowed() -> None:
    text = "One two three. Four five six. Seven eight nine ten."
    assert [each.text for each in segments([Passage("T", text)], 6)] == [text[:29], text[30:]]
    assert [each.text for each in segments([Passage("T", text)], 2)][:2] == ["One two", "three."]


def test_segments_run_on_through_an_article_and_stop_at_the_next() -> None:
    found = [
        Passage("A", "One."),
        Passage("A", "Two."),
        Passage("B", "Three."),
        Passage("", "Four."),
        Passage("", "Five."),
    ]
    assert [each.text for each in segments(found, 9)] == ["One. Two.", "Three.", "Four.", "Five."]


def test_a_question_goes_to_the_segment_of_the_sentence_that_answers_it() -> None:
    where = Question("Where did Zog live?", ("Tarn",))
    passage = Passage("A", "Tarn is old. It has a wall. Zog did live in Tarn.", (where,))
    assert [each.questions for each in segments([passage], 7)] == [(), (where,)]


def test_all_text_is_in_the_segments_once() -> None:
    cut = list(segments(passages(), 96))
    assert " ".join(each.text for each in cut) == " ".join(passage.text for passage in passages())
    assert max(len(each.text.split()) for each in cut) <= 96


def test_room_is_kept_for_needles_that_all_ask_about_several() -> None:
    assert IN2(multi_segments=(2, 4)).min_items(3) == 12
    assert IN2(multi_fraction=0).min_items(3) == 3
    with pytest.raises(UserError, match="3 needles of in2 need 9 items, more than the 8"):
        made(IN2(), 8, 3)


def test_parameters_out_of_range_are_refused() -> None:
    for wrong in ({"multi_fraction": 1.5}, {"multi_segments": 1}, {"multi_segments": []}):
        with pytest.raises(UserError, match="task in2: multi_"):
            make_task("in2", wrong)
