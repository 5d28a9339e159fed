from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from needlework.corpus import embedded
from needlework.tasks import invented
from needlework.tasks.invented import ENDS, MIDDLES, STARTS, VALUES, uniforms


def names(ends: str) -> set[str]:
    return {"".join(syllables) for syllables in itertools.product(STARTS, MIDDLES, ENDS[ends])}


def test_classes_of_names_have_none_in_common() -> None:
    for one, other in itertools.combinations(ENDS, 2):
        assert not names(one) & names(other)


def test_no_name_is_a_word_of_real_articles() -> None:
    rows = [*embedded("squad", "train"), *embedded("squad", "eval")]
    words = {word.lower() for row in rows for word in re.findall(r"\w+", row["text"])}
    assert len(words) > 10_000
    for ends in ENDS:
        assert not {name.lower() for name in names(ends)} & words


def test_names_are_unlike_each_other_in_the_way_the_forms_need() -> None:
    for ends in ENDS:
        for name in names(ends):
            # "a {line} …" needs a consonant in front.
            assert name[0] not in "AEIOU"
            assert name.isalpha()


@pytest.mark.parametrize("name", [name for name in VALUES if name not in ("role", "component")])
def test_values_are_drawn_from_many(name: str) -> None:
    draws = uniforms(np.random.default_rng(0))
    drawn = [VALUES[name](draws) for _ in range(200)]
    assert len(set(drawn)) > 100
    assert not any(value != value.strip() for value in drawn)


def test_no_date_is_part_of_another() -> None:
    draws = uniforms(np.random.default_rng(0))
    dates = {VALUES["date"](draws) for _ in range(5000)}
    assert len(dates) == 19 * 12
    assert not any(one in other for one, other in itertools.permutations(dates, 2))


@pytest.mark.parametrize("pool", [invented.ROLES, invented.COMPONENTS])
def test_articles_fit_their_nouns(pool: tuple[str, ...]) -> None:
    for phrase in pool:
        article, noun = phrase.split(" ", 1)
        assert article == ("an" if noun[0] in "aeiou" else "a")


def test_draws_are_a_function_of_the_generator() -> None:
    one, same = (uniforms(np.random.default_rng(7)) for _ in range(2))
    assert [next(one) for _ in range(1000)] == [next(same) for _ in range(1000)]
