from __future__ import annotations

import dataclasses
import json
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


def test_items_questions_and_answers_suffice() -> None:
    needles = [{"question": "Which?", "answer": "This."}, {"question": "Why?", "answer": "So.", "accepted": ["So"]}]
    assert from_json(Haystack, json.dumps({"items": ["One."], "needles": needles}), 12) == Haystack(
        "12",
        "own",
        "",
        ("One.",),
        (
            Needle("12/0", "12/0", "Which?", "This.", ("This.",), -1),
            Needle("12/1", "12/1", "Why?", "So.", ("So",), -1),
        ),
    )


def test_a_haystack_whose_questions_hold_the_text_has_no_items() -> None:
    haystack = Haystack("1", "own", "", (), (Needle("1/0", "1/0", "One. Which?", "This.", ("This.",), -1),))
    assert "items" not in json.loads(to_json(haystack))
    assert from_json(Haystack, to_json(haystack)) == haystack


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": []}, "Haystack.items is empty: give the text, or leave items out where the questions hold it"),
        ({"items": ["One.", " \n"]}, "Haystack.items[1] is empty: leave it out"),
        ({"items": "One."}, 'Haystack.items should be a list of strings, not "One."'),
        ({"text": "One."}, "Haystack has no field 'text'; its fields are id, task, preamble, items, needles, meta"),
        (
            {"messages": []},
            "Haystack has no field 'messages'; its fields are id, task, preamble, items, needles, meta. "
            "To make haystacks of such a file: needlework convert messages",
        ),
        (
            {"answers": []},
            "Haystack has no field 'answers'; its fields are id, task, preamble, items, needles, meta. "
            "To make haystacks of such a file: needlework convert squad",
        ),
        ({"needles": []}, "Haystack.needles is empty: ask at least one question"),
        ({"needles": ["Which?"]}, 'needles[0] should be an object, not "Which?"'),
        ({"needles": [{"question": "Which?"}]}, "needles[0] lacks the field 'answer'"),
        ({"needles": [{"question": " ", "answer": "x"}]}, "needles[0].question is empty: ask something"),
        ({"needles": [{"question": "?", "answer": ""}]}, "needles[0].answer is empty: give the text to train on"),
        ({"needles": [{"question": "?", "answer": 7}]}, "needles[0].answer should be a string, not 7"),
        ({"needles": [{"question": "?", "answer": "x", "gold": 1}]}, "needles[0] has no field 'gold'"),
        (
            {"needles": [{"question": "?", "answer": "x", "accepted": ["x", ""]}]},
            "needles[0].accepted[1] is empty: leave it out",
        ),
        (
            {"needles": [{"question": "?", "answer": "x", "position": 1}]},
            "needles[0].position is 1, but there are 1 items, counted from 0; it may be left out",
        ),
    ],
)
def test_a_haystack_that_cannot_be_meant_is_named_with_its_fault(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "haystacks.jsonl"
    good = {"items": ["One."], "needles": [{"question": "Which?", "answer": "This."}]}
    path.write_text(json.dumps(good) + "\n\n" + json.dumps(good | change) + "\n")
    with pytest.raises(DataError) as error:
        list(read(Haystack, path))
    assert str(error.value).startswith(f"{path}, line 3: {message}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "1"', "not a JSON record"),
        ("[1]", "Needle should be an object, not [1]"),
        ('{"id": "1"}', "Needle lacks the field 'question'"),
        (
            to_json(NEEDLE).replace('"position": 1', '"position": "1"'),
            'Needle.position should be an integer, not "1"',
        ),
        (
            to_json(NEEDLE).replace('"position": 1', '"position": true'),
            "Needle.position should be an integer, not true",
        ),
        (to_json(NEEDLE).replace('["9318"]', "[9318]"), "Needle.accepted[0] should be a string, not 9318"),
        (
            to_json(NEEDLE).replace('"group"', '"grup"'),
            "Needle has no field 'grup'; its fields are id, group, question",
        ),
        (to_json(NEEDLE)[:-1] + ', "answer": "other"}', "the key 'answer' occurs twice"),
        (to_json(NEEDLE).replace("9318.", "\\ud800"), "it holds half of a surrogate pair"),
        ("1" * 5000, "it holds a number too long to be read, or is nested too deeply"),
        ("[" * 100_000, "it holds a number too long to be read, or is nested too deeply"),
    ],
)
def test_a_malformed_line_is_named_with_its_fault(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "needles.jsonl"
    path.write_text(to_json(NEEDLE) + "\n" + line + "\n")
    with pytest.raises(DataError) as error:
        list(read(Needle, path))
    assert f"{path}, line 2: " in str(error.value)
    assert message in str(error.value)


def test_a_score_that_is_none_is_named(tmp_path: Path) -> None:
    from tests.report.conftest import prediction

    path = tmp_path / "predictions.jsonl"
    path.write_text(to_json(dataclasses.replace(prediction("kv", 0, "", True), extra={"whole": 7})))  # type: ignore[dict-item]
    with pytest.raises(DataError, match=r"line 1: Prediction\.extra\.whole should be true or false, not 7"):
        list(read(Prediction, path))


def test_a_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.jsonl: No such file"):
        list(read(Needle, tmp_path / "none.jsonl"))


def test_a_file_that_is_not_text_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"\n\xff\xfe\x00")
    with pytest.raises(DataError, match="line 2: not UTF-8 text at byte 0"):
        list(read(Needle, tmp_path / "x.jsonl"))


def test_a_mark_of_the_encoding_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(to_json(HAYSTACK), encoding="utf-8-sig")
    assert list(read(Haystack, tmp_path / "x.jsonl")) == [HAYSTACK]


def test_one_accepted_string_is_not_taken_for_its_letters() -> None:
    with pytest.raises(TypeError, match="accepted should be a tuple of strings, not '9318'"):
        Needle("n", "n", "q?", "9318", "9318", position=-1)  # type: ignore[arg-type]


def test_records_can_be_members_of_sets() -> None:
    haystack = Haystack("h", "own", "", ("text",), (), {"length": 600})
    assert len({haystack, dataclasses.replace(haystack, meta={"length": 900})}) == 2
