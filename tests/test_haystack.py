from __future__ import annotations

from pathlib import Path

import pytest

from needlework.errors import DataError
from needlework.haystack import Haystack, Needle, Prediction, from_json, read, to_json, write

NEEDLE = Needle("7/0", "7/0", "Which?", "The value is 9318.", ("9318",), 1)
HAYSTACK = Haystack("7", "simple_dict", "Do a task.", ("Dictionary [1]", "Dictionary [2]"), (NEEDLE,), {"length": 5})


def test_message_joins_items_by_newlines_and_parts_by_blank_lines() -> None:
    assert HAYSTACK.message(NEEDLE) == "Do a task.\n\nDictionary [1]\nDictionary [2]\n\nWhich?"


def test_message_without_items_has_no_gap() -> None:
    assert Haystack("1", "knowledge", "Complete.", (), (NEEDLE,)).message(NEEDLE) == "Complete.\n\nWhich?"


def test_written_records_read_back_equal(tmp_path: Path) -> None:
    prediction = Prediction(
        "a",
        "h",
        "g",
        "q",
        ("x", "y"),
        "gold",
        2,
        "50%",
        None,
        9,
        "out\u2028put\n\x00",
        True,
        {"exact": False},
    )
    assert write([HAYSTACK], tmp_path / "h.jsonl") == 1
    assert write([prediction], tmp_path / "p.jsonl") == 1
    assert list(read(Haystack, tmp_path / "h.jsonl")) == [HAYSTACK]
    assert list(read(Prediction, tmp_path / "p.jsonl")) == [prediction]
    assert not list(tmp_path.glob("*.tmp"))


def test_meta_may_be_left_out() -> None:
    line = to_json(HAYSTACK).replace(', "meta": {"length": 5}', "")
    assert from_json(Haystack, line).meta == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "1"', "not a JSON record"),
        ("[1]", "a Needle is a JSON object, not list"),
        ('{"id": "1"}', "Needle lacks the field 'group'"),
        (
            to_json(NEEDLE).replace('"position": 1', '"position": "1"'),
            "Needle.position should be int, not str",
        ),
        (
            to_json(NEEDLE).replace('"position": 1', '"position": true'),
            "Needle.position should be int, not bool",
        ),
        (to_json(NEEDLE).replace('["9318"]', "[9318]"), "Needle.accepted should hold strings only"),
        (to_json(NEEDLE).replace('"group"', '"grup"'), "Needle has no field 'grup'"),
    ],
)
def test_a_malformed_line_is_named_with_its_fault(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "needles.jsonl"
    path.write_text(to_json(NEEDLE) + "\n" + line + "\n")
    with pytest.raises(DataError) as error:
        list(read(Needle, path))
    assert f"{path}, line 2: " in str(error.value)
    assert message in str(error.value)


def test_a_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.jsonl: No such file"):
        list(read(Needle, tmp_path / "none.jsonl"))


def test_a_file_that_is_not_text_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8 text at byte 0"):
        list(read(Needle, tmp_path / "x.jsonl"))
