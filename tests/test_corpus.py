from __future__ import annotations

import json
from pathlib import Path

import pytest

from needlework.corpus import Passage, Question, askable, embedded, passages, squad
from needlework.errors import DataError

ROW = {"title": "Zog", "context": "Zog  lies in\nTarn.", "question": "Where is Zog?", "answers": ["Tarn"]}
ZOG = Passage("Zog", "Zog lies in Tarn.", (Question("Where is Zog?", ("Tarn",)),))


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def as_squad(*qas: object, context: object = ROW["context"]) -> dict[str, object]:
    return {"version": "v2.0", "data": [{"title": "Zog", "paragraphs": [{"context": context, "qas": list(qas)}]}]}


@pytest.mark.parametrize(
    ("name", "rows", "key"),
    [
        ("squad", 2067, "questions"),
        ("qa_wikidata", 20442, "accepted"),
        ("known_unknowns", 46, "choices"),
        ("general_knowledge", 70, "choices"),
    ],
)
def test_embedded_files_are_whole(name: str, rows: int, key: str) -> None:
    found = list(embedded(name))
    assert len(found) == rows
    assert all(row[key] or name == "squad" for row in found)


def test_halves_make_up_the_whole() -> None:
    assert sum(1 for half in ("train", "eval") for _ in embedded("qa_wikidata", half)) == 20442


def test_squad_has_all_its_questions() -> None:
    assert sum(len(passage.questions) for passage in squad("train") + squad("eval")) == 10565


def test_by_default_the_passages_are_the_training_half() -> None:
    assert [passage.text for passage in passages()] == [row["text"] for row in embedded("squad", "train")]
    assert sum(len(passage.questions) for passage in passages()) == 4333


def test_answers_that_any_text_may_hold_are_not_asked() -> None:
    short, long = Question("How many?", ("5", "five of them")), Question("Who?", ("Newton",))
    assert askable([short, long]) == (long,)


def test_a_jsonl_file_has_a_question_a_line(tmp_path: Path) -> None:
    assert passages(write(tmp_path / "qa.jsonl", ROW)) == (ZOG,)


def test_lines_of_one_context_are_one_passage(tmp_path: Path) -> None:
    other = ROW | {"question": "What lies in Tarn?", "answers": ["Zog", "Zog"]}
    (found,) = passages(write(tmp_path / "qa.jsonl", ROW, other))
    assert found.questions == (*ZOG.questions, Question("What lies in Tarn?", ("Zog",)))


def test_a_title_may_be_missing_and_answers_may_be_as_datasets_writes_them(tmp_path: Path) -> None:
    row = {**ROW, "answers": {"text": ["Tarn"], "answer_start": [12]}}
    del row["title"]
    assert passages(write(tmp_path / "qa.jsonl", row)) == (Passage("", ZOG.text, ZOG.questions),)


def test_a_line_may_hold_any_character_that_json_allows(tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    path.write_text(json.dumps(ROW | {"context": "Zog\u2028lies in Tarn."}, ensure_ascii=False), encoding="utf-8")
    assert passages(str(path)) == (ZOG,)


def test_a_squad_file_is_read(tmp_path: Path) -> None:
    asked = {"id": "7", "question": "Where is Zog?", "answers": [{"text": "Tarn", "answer_start": 12}] * 3}
    impossible = {"id": "8", "question": "Who is Zog?", "answers": [], "is_impossible": True}
    assert passages(write(tmp_path / "squad.json", as_squad(asked, impossible))) == (ZOG,)


def test_a_folder_of_texts_has_a_passage_for_each_paragraph(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "the_sea.txt").write_text("One\nline.\n\n  \nTwo.\r\n\r\nOne line.\n")
    (tmp_path / "notes.md").write_text("Not read.")
    assert passages(str(tmp_path)) == (Passage("the sea", "One line."), Passage("the sea", "Two."))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("qa.jsonl", json.dumps(ROW) + "\n\n{oops", r"qa\.jsonl, line 3: not JSON: .* at column 2$"),
        ("qa.jsonl", "[]", r"qa\.jsonl, line 1: it should be an object"),
        ("qa.jsonl", '{"context": "a", "question": "b"}', r"qa\.jsonl, line 1: answers: field required"),
        (
            "qa.jsonl",
            '{"context": "a", "question": "b", "answers": "c"}',
            r"line 1: answers: input should be a valid list",
        ),
        ("qa.jsonl", '{"context": " ", "question": "b", "answers": []}', r"line 1: context: string should have at"),
        ("qa.jsonl", json.dumps(ROW)[:-1] + ', "context": "b"}', r"line 1: the key 'context' occurs twice"),
        ("squad.json", '{"data": [], "data": []}', r"squad\.json: the key 'data' occurs twice"),
        ("qa.jsonl", "\n", r"qa\.jsonl holds no text"),
        (
            "qa.jsonl",
            json.dumps(ROW | {"title": "\ud800"}),
            r"line 1: title: input should be a valid string, unable to",
        ),
        ("squad.json", '{\n"data": oops}', r"squad\.json, line 2: not JSON: .* at column 9$"),
        ("squad.json", json.dumps(as_squad(context=3)), r"SQuAD's form: data\.0\.paragraphs\.0\.context: input should"),
        ("squad.json", "[]", r"squad\.json is not in SQuAD's form: it should be an object"),
        (
            "squad.json",
            99_999 * "[",
            r"squad\.json cannot be read: it holds a number too long, or is nested too deeply",
        ),
        ("qa.jsonl", "\n" + 5_000 * "1", r"qa\.jsonl, line 2 cannot be read: it holds a number too long"),
        ("qa.csv", "", r"qa\.csv is neither a \.json or \.jsonl file"),
        ("qa.jsonl", b"\n\n\xff", r"cannot read .*qa\.jsonl, line 3: not UTF-8 text"),
    ],
)
def test_a_malformed_source_is_one_sentence_with_its_place(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        passages(str(tmp_path / name))


def test_a_missing_source_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*nowhere: there is no such file or folder"):
        passages(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"holds no \.txt files"):
        passages(str(tmp_path))


def test_the_evaluation_half_is_refused_as_a_source(tmp_path: Path) -> None:
    (tmp_path / "leak.txt").write_text(f"A line.\n\n{squad('eval')[5].text}\n")
    with pytest.raises(DataError, match="holds 1 paragraphs of the embedded evaluation text"):
        passages(str(tmp_path))
