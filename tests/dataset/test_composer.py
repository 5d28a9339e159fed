from __future__ import annotations

import numpy as np
import pytest

from needlework.dataset import composer as composing
from needlework.dataset.composer import Composer
from needlework.dataset.encoded import encode
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import DataError
from needlework.models.chat import Renderer
from needlework.tasks import TASKS, make_task
from needlework.tasks.draft import Draft, Pieces
from tests.conftest import CHAT_ML, INST, make_tokenizer

PROSE = {"records", "mdqa", "multidocqa", "in2", "niah"}


def draft(seed: int = 0, needles: int = 3, capacity: int = 40, task: str = "simple_dict") -> Draft:
    return make_task(task).draft(np.random.default_rng(seed), capacity, needles)


def is_composed(composer: Composer, one: Draft) -> bool:
    return composer._sized(one) is not None


@pytest.mark.parametrize("task", sorted(set(TASKS) - PROSE - {"mixture"}))
@pytest.mark.parametrize("template", [CHAT_ML, INST, None])
@pytest.mark.parametrize("digits", ["single", "threes"])
def test_composed_rows_are_those_of_the_tokenized_text(digits: str, template: str | None, task: str) -> None:
    renderer = Renderer(make_tokenizer(digits, template))
    composer = Composer(renderer)
    fewest = make_task(task).min_items(3)
    for seed in range(10):
        one = draft(seed, task=task)
        for num_items in (max(3, fewest), 17, 40):
            assert composing._same(
                next(composer.encode([(one, num_items)])), encode(one.haystack(num_items, ""), renderer)
            )
            assert composer.count(one, num_items) == renderer.count(one.haystack(num_items, ""))
        assert is_composed(composer, one)


def test_a_tokenizer_that_joins_numbers_with_their_surroundings_takes_the_plain_path() -> None:
    tokenizer = make_tokenizer("merged")
    # A token of its own for a bracket and a digit.
    tokenizer.add_tokens(["{1"])
    composer = Composer(Renderer(tokenizer))
    data = SyntheticDataset(make_task("simple_dict"), 20, 2, 700, Renderer(tokenizer))
    plain = SyntheticDataset(make_task("simple_dict"), 20, 2, 700, Renderer(tokenizer))
    plain.composer._refuse(draft())
    for index in range(20):
        assert composing._same(data.encoded(index), plain.encoded(index))
    assert data.composer.refused == {"simple_dict"}
    assert not composer.refused


def test_a_tokenizer_that_joins_a_number_with_the_question_takes_the_plain_path() -> None:
    tokenizer = make_tokenizer("single")
    tokenizer.add_tokens(["y 1"])
    data, plain = (SyntheticDataset(make_task("simple_dict"), 20, 2, 700, Renderer(tokenizer)) for _ in range(2))
    plain.composer._refuse(draft())
    for index in range(20):
        assert composing._same(data.encoded(index), plain.encoded(index))
    assert data.composer.refused == {"simple_dict"}


@pytest.mark.parametrize("task", sorted(PROSE))
def test_prose_is_tokenized_as_text(task: str, renderer: Renderer) -> None:
    composer, one = Composer(renderer), draft(task=task, capacity=9)
    assert not isinstance(one.contents, Pieces)
    assert not is_composed(composer, one)
    assert composing._same(next(composer.encode([(one, 9)])), encode(one.haystack(9, ""), renderer))
    assert composer.refused == set()


def test_numbers_too_large_for_a_table_take_the_plain_path(renderer: Renderer) -> None:
    one = make_task("simple_dict", {"key_digits": [8]}).draft(np.random.default_rng(0), 9, 1)
    composer = Composer(renderer)
    assert composing._same(next(composer.encode([(one, 9)])), encode(one.haystack(9, ""), renderer))
    assert composer.refused == {"simple_dict"}


def test_more_digits_than_the_table_began_with_extend_it(renderer: Renderer) -> None:
    one = make_task("simple_dict", {"key_digits": [5], "value_digits": [5]}).draft(np.random.default_rng(0), 9, 1)
    composer = Composer(renderer)
    assert composing._same(next(composer.encode([(one, 9)])), encode(one.haystack(9, ""), renderer))
    assert is_composed(composer, one)


def test_a_difference_among_the_first_samples_ends_composing_and_a_later_one_is_an_error(renderer: Renderer) -> None:
    def spoiled(seen: int) -> Composer:
        composer = Composer(renderer)
        for seed in range(seen):
            assert composer.check(draft(seed), 20, seed)
        sized = composer._sized(draft())
        assert sized is not None
        sized.table._padded += 1
        return composer

    assert not spoiled(3).check(draft(9), 20, 3)
    with pytest.raises(DataError, match="sample 4096 of simple_dict"):
        spoiled(20).check(draft(9), 20, 4096)
    # Between two compared samples nothing is tokenized.
    assert spoiled(20).check(draft(9), 20, 4095)
