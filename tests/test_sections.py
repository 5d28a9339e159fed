from __future__ import annotations

import pytest

from needlework.errors import RecipeError
from needlework.sections import Section, suggest, validate


class Inner(Section):
    size: int = 1


class Outer(Section):
    name: str
    inner: Inner | None = None
    range: tuple[int, int] | None = None
    switch: bool = False
    rate: float = 1.0


def test_values_that_fit_become_a_section() -> None:
    assert validate(Outer, {"name": "x", "inner": {"size": 2}, "switch": True}, "it") == Outer(
        name="x", inner=Inner(size=2), switch=True
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "it lacks the key 'name'."),
        ({"name": "x", "iner": {}}, "it has no key 'iner'. Did you mean 'inner'?"),
        ({"name": "x", "inner": {"sise": 2}}, "it has no key 'inner.sise'. Did you mean 'size'?"),
        ({"name": "x", "inner": {"size": "two"}}, "inner.size is 'two': input should be a valid integer"),
        ({"name": "x", "range": [5]}, "range is [5]: give 2 values, not 1."),
        ({"name": "x", "range": []}, "range is []: give 2 values, not 0."),
        (
            {"name": "x", "inner": {"size": True}},
            "inner.size is True: give a value, {} for a section of defaults, or null",
        ),
        ({"name": "x", "inner": 3}, "inner is 3: give keys and values, or {} for the defaults."),
        ({"name": "x", "rate": float("inf")}, "rate is inf: input should be a finite number."),
    ],
)
def test_the_first_mistake_is_one_sentence(values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        validate(Outer, values, "it")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_what_is_near_nothing_is_told_all_there_is() -> None:
    assert suggest("q", ["alpha", "beta"]) == " Known: alpha, beta."


def test_a_value_that_is_huge_is_shown_in_brief() -> None:
    value: list[object] = ["x"] * 10
    for _ in range(9):
        # As YAML's aliases make it: 10^10 strings in a few lines.
        value = [value] * 10
    with pytest.raises(RecipeError) as caught:
        validate(Outer, {"name": value}, "it")
    assert len(str(caught.value)) < 1000
