from __future__ import annotations

import pytest

from needlework.benchmark_settings import Knowledge
from needlework.benchmarks import knowledge
from needlework.errors import UserError


def test_facts_are_drawn_by_seed_from_one_half() -> None:
    first, again = (knowledge.build(Knowledge(facts=50, half="eval"), seed=0) for _ in range(2))
    other = knowledge.build(Knowledge(facts=50, half="train"), seed=0)
    questions = [{each.needles[0].question for each in benchmark.haystacks} for benchmark in (first, again, other)]
    assert questions[0] == questions[1]
    assert len(questions[0]) == 50
    assert not questions[0] & questions[2]


def test_exact_and_contained_match_are_both_scored() -> None:
    needle = knowledge.build(Knowledge(facts=1, half="eval"), seed=0).haystacks[0].needles[0]
    answer = needle.accepted[0]
    assert knowledge.score(needle, answer) == {"contained": True, "exact": True}
    assert knowledge.score(needle, f"{needle.question} {answer}.") == {"contained": True, "exact": True}
    assert knowledge.score(needle, f"I think it is {answer}.") == {"contained": True, "exact": False}
    assert knowledge.score(needle, "I do not know.") == {"contained": False, "exact": False}


def test_more_facts_than_there_are_is_an_error() -> None:
    with pytest.raises(UserError, match="knowledge has 10243 facts in the eval half"):
        knowledge.build(Knowledge(facts=20_000, half="eval"), seed=0)
