from __future__ import annotations

import pytest

from needlework.errors import RecipeError
from needlework.tasks import make_task, reads_text, sources


def test_parameters_come_from_yaml_types() -> None:
    task = make_task("simple_dict", {"key_digits": [2, 3], "value_digits": 4, "template": False})
    assert (task.key_digits, task.value_digits, task.template) == ((2, 3), (4,), False)


def test_a_value_of_the_wrong_kind_is_one_sentence() -> None:
    with pytest.raises(RecipeError, match="task simple_dict: front_size is 0: input should be greater than 0"):
        make_task("simple_dict", {"front_size": 0})
    with pytest.raises(RecipeError, match=r"first_fraction is 1\.5: input should be less than or equal to 1"):
        make_task("simple_dict", {"first_fraction": 1.5})
    with pytest.raises(RecipeError, match=r"key_digits\.0 is 'three'"):
        make_task("simple_dict", {"key_digits": "three"})


@pytest.mark.parametrize(
    ("name", "choice"),
    [("simple_dict", "keys_per_dict"), ("records", "kinds"), ("chain", "hops"), ("collect", "occurrences")],
)
def test_a_choice_of_nothing_is_refused(name: str, choice: str) -> None:
    with pytest.raises(RecipeError, match=f"task {name}: {choice} is empty, and there is nothing to draw from"):
        make_task(name, {choice: []})


def test_an_unknown_task_suggests_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no task 'simple_dct'\. Did you mean 'simple_dict'\?"):
        make_task("simple_dct")


def test_an_unknown_parameter_suggests_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no parameter 'key_digit'\. Did you mean 'key_digits'\?"):
        make_task("simple_dict", {"key_digit": 3})


def test_the_users_own_text_is_found_in_any_task_and_in_the_parts_of_a_mixture() -> None:
    parts = {
        "niah": {"params": {"source": "essays"}},
        "in2": {"weight": 2, "params": {"distractors": "pages"}},
        "mdqa": 1,
    }
    assert sources({"parts": parts}) == ["essays", "pages"]
    assert sources({"source": "qa.json", "distractors": None}) == ["qa.json"]
    assert sources({"key_digits": [3]}) == []


@pytest.mark.parametrize(
    ("name", "params", "reads"),
    [
        ("simple_dict", {}, False),
        ("records", {}, False),
        ("niah", {}, True),
        ("mixture", {}, False),
        ("mixture", {"parts": {"absent": 1, "mdqa": {"weight": 2}}}, True),
        ("mixture", {"parts": {"mixture": {"params": {"parts": {"absent": 1, "mdqa": 1}}}}}, True),
        ("mixture", {"parts": {"mixture": {"params": {"parts": {"absent": 1}}}, "chain": 1}}, False),
    ],
)
def test_which_tasks_hold_real_text_is_known(name: str, params: dict[str, object], reads: bool) -> None:
    assert reads_text(name, params) is reads
