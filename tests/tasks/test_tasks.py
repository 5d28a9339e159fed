from __future__ import annotations

import pytest

from needlework.errors import RecipeError
from needlework.tasks import make_task


def test_parameters_come_from_yaml_types() -> None:
    task = make_task("simple_dict", {"key_digits": [2, 3], "value_digits": 4, "template": False})
    assert (task.key_digits, task.value_digits, task.template) == ((2, 3), (4,), False)


def test_a_value_of_the_wrong_kind_is_one_sentence() -> None:
    with pytest.raises(RecipeError, match="task simple_dict: front_size is 0: input should be greater than 0"):
        make_task("simple_dict", {"front_size": 0})
    with pytest.raises(RecipeError, match=r"key_digits\.0 is 'three'"):
        make_task("simple_dict", {"key_digits": "three"})


def test_an_unknown_task_suggests_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no task 'simple_dct'\. Did you mean 'simple_dict'\?"):
        make_task("simple_dct", {})


def test_an_unknown_parameter_suggests_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no parameter 'key_digit'\. Did you mean 'key_digits'\?"):
        make_task("simple_dict", {"key_digit": 3})
