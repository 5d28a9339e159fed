from __future__ import annotations

import pytest

from needlework.plain_yaml import parse


def test_plain_values_are_read_also_those_merged_from_an_anchor() -> None:
    assert parse("a: &x {b: 1, c: [2, null]}\nd: {<<: *x, b: 3}") == {
        "a": {"b": 1, "c": [2, None]},
        "d": {"b": 3, "c": [2, None]},
    }
    assert parse("") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: {c: 1, c: 2}", "the key c occurs twice.*line 2, column 11"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("2026-13-01", "month must be in 1..12"),
        (3000 * "[", "it is nested too deeply"),
        ("[", "expected the node content"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        parse(text)
    assert "\n" not in str(error.value)
