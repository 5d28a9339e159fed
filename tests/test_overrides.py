from __future__ import annotations

from typing import Any

import pytest

from needlework.errors import RecipeError
from needlework.overrides import apply


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a.b=2", {"a": {"b": 2, "c": 0}, "d": None}),
        ("d.e=[1, x]", {"a": {"b": 1, "c": 0}, "d": {"e": [1, "x"]}}),
        ("a.b=1e-4", {"a": {"b": 1e-4, "c": 0}, "d": None}),
        ("a.b='1e-4'", {"a": {"b": "1e-4", "c": 0}, "d": None}),
        ("a=null", {"a": None, "d": None}),
        ('a="\\ud83d\\udcc4 #2: 1e5"', {"a": "\U0001f4c4 #2: 1e5", "d": None}),
        ('a="2024"', {"a": "2024", "d": None}),
    ],
)
def test_a_value_is_changed_by_its_path(override: str, expected: dict[str, Any]) -> None:
    values: dict[str, Any] = {"a": {"b": 1, "c": 0}, "d": None}
    apply(values, override)
    assert values == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("a", "should look like"),
        ("a.b.c=1", "b holds no keys"),
        ("a.b=[", "is not a YAML value"),
        ('a={"b": 1, "b": 2}', "the key 'b' occurs twice"),
    ],
)
def test_what_is_no_override_is_one_sentence(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        apply({"a": {"b": 1}}, override)
