from __future__ import annotations

import pytest

from needlework.benchmark_settings import Grounding
from needlework.benchmarks import grounding
from needlework.benchmarks.scoring import contained_match
from needlework.corpus import embedded
from needlework.errors import UserError


def test_questions_are_drawn_by_seed_from_one_half() -> None:
    built = [grounding.build(Grounding(questions=50, half=half), seed=0) for half in ("eval", "eval", "train")]
    questions = [{each.needles[0].question for each in benchmark.haystacks} for benchmark in built]
    assert questions[0] == questions[1]
    assert len(questions[0]) == 50
    assert not questions[0] & questions[2]


def test_every_context_holds_its_answer_and_not_the_remembered_one() -> None:
    for row in embedded("conflicts"):
        assert contained_match(row["context"], [row["answer"]])
        assert not contained_match(row["context"], [row["memory"]])


def test_context_and_memory_are_told_apart() -> None:
    benchmark = grounding.build(Grounding(questions=608, half="eval"), seed=0)
    row = next(embedded("conflicts", "eval"))
    needle = next(each.needles[0] for each in benchmark.haystacks if row["question"] in each.needles[0].question)
    assert grounding.score(needle, f"It is {row['answer']}.") == {"context": True, "memory": False}
    assert grounding.score(needle, f"It is {row['memory']}.") == {"context": False, "memory": True}
    assert grounding.score(needle, "I cannot say.") == {"context": False, "memory": False}


def test_more_questions_than_there_are_is_an_error() -> None:
    with pytest.raises(UserError, match="grounding has 608 questions in the eval half, fewer than the 700"):
        grounding.build(Grounding(questions=700, half="eval"), seed=0)
