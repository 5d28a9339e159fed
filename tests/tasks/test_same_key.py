from __future__ import annotations

import pytest

from needlework.errors import RecipeError
from needlework.tasks import make_task
from tests.tasks.reading import asked, holders, many

QUESTION = "Report the value of key N in Dictionary [N]."


@pytest.mark.parametrize("occurrences", [2, 3, 5])
def test_a_search_of_the_text_finds_exactly_the_answer(occurrences: int) -> None:
    for haystack in many("same_key", occurrences=occurrences):
        for needle in haystack.needles:
            key, name = asked(needle.question, QUESTION)
            values = holders(haystack, key)
            assert len(values) == len(set(values.values())) == occurrences
            assert needle.answer == f"The value of key {key} in Dictionary [{name}] is {values[name]}."
            assert (needle.accepted, needle.position) == ((str(values[name]),), name - 1)


def test_the_named_dictionary_is_the_first_or_the_last_that_holds_the_key_no_more_than_by_chance() -> None:
    ranks = []
    for haystack in many("same_key", 400):
        for needle in haystack.needles:
            key, name = asked(needle.question, QUESTION)
            ranks.append(list(holders(haystack, key)).index(name))
    assert all(ranks.count(rank) / len(ranks) == pytest.approx(1 / 3, abs=0.04) for rank in range(3))


def test_a_key_that_occurs_once_is_no_such_task() -> None:
    with pytest.raises(RecipeError, match="occurrences is 1"):
        make_task("same_key", {"occurrences": 1})
