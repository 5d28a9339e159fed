from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from needlework.tasks.invented import VALUES, uniforms
from needlework.tasks.record_kinds import Kind, Record, fields, kinds, prose

KINDS = list(kinds().values())

# Words that say nothing of what is asked.
FUNCTION_WORDS = """
a an and are at be by can did do does for from has have how in is it its many much must number numbered
of on one out s should that the this to under up was way were what when where which who whom will with
"""


def record(kind: Kind, seed: int) -> Record:
    draws = uniforms(np.random.default_rng(seed))
    return Record(kind, {name: VALUES[name](draws) for name in (*kind.identity, *kind.shared, *kind.asked)})


def stems(forms: tuple[str, ...]) -> set[str]:
    """Return the first five letters of each word that means something."""
    words = re.findall(r"[a-z]+", re.sub(r"\{\w+\}", " ", " ".join(forms)).lower())
    return {word[:5] for word in words} - {word[:5] for word in FUNCTION_WORDS.split()}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_there_are_enough_forms_and_none_twice(kind: Kind) -> None:
    assert len(set(kind.openings)) == len(kind.openings) >= 8
    for attribute in kind.asked.values():
        assert len(set(attribute.sentences)) == len(attribute.sentences) >= 6
        assert len(set(attribute.questions)) == len(attribute.questions) >= 6


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_form_states_what_it_should(kind: Kind) -> None:
    fixed, pronouns = {*kind.identity, *kind.shared}, {"she", "her", "him", "hers"}
    for opening in kind.openings:
        assert fixed <= fields(opening) <= fixed | pronouns | set(kind.asked)
    for name, attribute in kind.asked.items():
        for sentence in attribute.sentences:
            assert name in fields(sentence) <= {name, *kind.identity} | pronouns
            assert not re.search(r"[.;]|, and ", sentence)
        for question in attribute.questions:
            assert fields(question) == set(kind.identity)
            assert question.endswith("?")
        assert fields(attribute.answer) == {name, *kind.identity}
        assert attribute.answer.endswith(".")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_questions_share_no_meaningful_word_with_records_of_their_kind(kind: Kind) -> None:
    told = stems(kind.openings + sum((each.sentences for each in kind.asked.values()), ()))
    for attribute in kind.asked.values():
        assert not stems(attribute.questions) & told


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_prose_tells_every_value_once(kind: Kind) -> None:
    draws = uniforms(np.random.default_rng(1))
    for seed in range(200):
        made = record(kind, seed)
        text = prose(made, draws)
        for name in (*kind.shared, *kind.asked):
            if made.text.count(made.values[name]) == 1:
                assert text.lower().count(made.values[name].lower()) == 1, text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_prose_is_two_to_four_sentences_of_25_to_60_words(kind: Kind) -> None:
    draws = uniforms(np.random.default_rng(2))
    for seed in range(1000):
        text = prose(record(kind, seed), draws)
        assert 2 <= len(re.findall(r"\.(?: |$)", text)) <= 4, text
        assert 25 <= len(text.split()) <= 60, text
        assert all(sentence[0].isupper() for sentence in text.split(". "))
        assert "{" not in text
        assert "  " not in text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_values_are_told_in_every_order(kind: Kind) -> None:
    draws = uniforms(np.random.default_rng(3))
    orders: Counter[tuple[str, ...]] = Counter()
    for seed in range(1500):
        made = record(kind, seed)
        text = prose(made, draws)
        orders[tuple(sorted(kind.asked, key=lambda name: text.find(made.values[name])))] += 1
    assert len(orders) == 24


def test_a_person_has_the_same_pronoun_throughout() -> None:
    draws = uniforms(np.random.default_rng(4))
    for seed in range(300):
        words = set(re.findall(r"\w+", prose(record(kinds()["person"], seed), draws).lower()))
        assert not (words & {"she", "her", "hers"} and words & {"he", "his", "him"})
