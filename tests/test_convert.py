from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from needlework.convert import Converted, common_length, from_messages, from_squad
from needlework.errors import DataError
from needlework.haystack import Haystack, Needle, read, write

LEASE = "Read the lease.\n\nThe tenant pays 950 euros on the third of each month.\n\nEither side may end it."
WILL = "Read the will.\n\nThe house goes to the nephew, and the boat to the sister, who may sell neither."


def chat(user: str, assistant: str = "So.", system: str | None = None) -> dict[str, Any]:
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return {"messages": [*([{"role": "system", "content": system}] if system else []), *messages]}


def converted(tmp_path: Path, *rows: dict[str, Any]) -> Converted:
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return from_messages(path)


def squad_file(tmp_path: Path, *paragraphs: dict[str, Any]) -> Path:
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "T", "paragraphs": paragraphs}]}))
    return path


def asked(question: str, *answers: str) -> dict[str, Any]:
    return {"id": question, "question": question, "answers": [{"text": each, "answer_start": 0} for each in answers]}


def test_a_context_in_squads_form_is_a_haystack_with_all_its_questions(tmp_path: Path) -> None:
    first = {
        "context": "Zog lies\n\nin  Tarn.",
        "qas": [asked("Where?", "Tarn", "in Tarn", "Tarn"), asked("Who?", "Zog")],
    }
    second = {"context": "Ub.", "qas": [asked("Why?")]}
    assert from_squad(squad_file(tmp_path, first, second)) == Converted(
        (
            Haystack(
                "1",
                "squad",
                "",
                ("Zog lies\n\nin  Tarn.",),
                (
                    Needle("1/0", "1/0", "Where?", "Tarn", ("Tarn", "in Tarn"), 0),
                    Needle("1/1", "1/1", "Who?", "Zog", ("Zog",), 0),
                ),
            ),
        ),
        unanswered=1,
    )


def test_lines_of_the_same_context_are_one_haystack(tmp_path: Path) -> None:
    rows = [{"context": text, "question": q, "answers": [q]} for text, q in (("A.", "x"), ("B.", "y"), ("A.", "z"))]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = from_squad(tmp_path / "q.jsonl").haystacks
    assert [[each.question for each in haystack.needles] for haystack in found] == [["x", "z"], ["y"]]


def test_a_file_without_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no question with an answer"):
        from_squad(squad_file(tmp_path, {"context": "Ub.", "qas": [asked("Why?")]}))


def test_chats_that_share_a_context_are_one_haystack_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [chat(f"{text}\n\n{question}", f"{question}!") for question in ("Who?", "How?") for text in (LEASE, WILL)]
    lease, will = converted(tmp_path, *rows).haystacks
    assert (lease.items, will.items) == ((LEASE,), (WILL,))
    assert [(each.id, each.question, each.answer, each.accepted) for each in lease.needles] == [
        ("1/0", "Who?", "Who?!", ("Who?!",)),
        ("1/1", "How?", "How?!", ("How?!",)),
    ]
    assert lease.meta == {"lines": [1, 3]}


@pytest.mark.parametrize("join", ["\n\n", "\n", " ", "\n\n\n", "\n\nQuestion: ", "\n\n\n\n"])
def test_haystacks_are_rendered_to_the_very_messages(tmp_path: Path, join: str) -> None:
    questions = ["Who pays?", "Who ends it?\n\nAnswer in a word.", "\n\nWhat?", "Who pays?"]
    users = [f"{text}{join}{question}" for text in (LEASE, WILL, WILL.replace("\n\n", " ")) for question in questions]
    users += ["Hello!", "\n\nHello", "An order.\n\n", LEASE + "\n\n"]
    random.Random(0).shuffle(users)
    found = converted(tmp_path, *(chat(user, f" {number}\n") for number, user in enumerate(users)))
    write(found.haystacks, tmp_path / "haystacks.jsonl")
    rendered = {
        line: (haystack.message(needle), needle.answer)
        for haystack in read(Haystack, tmp_path / "haystacks.jsonl")
        for line, needle in zip(haystack.meta["lines"], haystack.needles, strict=True)
    }
    assert [rendered[line] for line in sorted(rendered)] == [(user, f" {n}\n") for n, user in enumerate(users)]
    assert len(found.haystacks) < len(users) / 2


def test_a_long_question_does_not_part_those_before_it_from_those_after_it(tmp_path: Path) -> None:
    document = LEASE * 4
    questions = ["Ask a?", "Ask b" + "?" * 2 * len(document), "Ask c?", "Ask d?"]
    found = converted(tmp_path, *(chat(f"{document}\n\n{question}") for question in questions))
    assert [haystack.meta["lines"] for haystack in found.haystacks] == [[1, 3, 4], [2]]


def test_a_common_instruction_alone_does_not_make_one_haystack(tmp_path: Path) -> None:
    instruction = "Answer the question using only the document below.\n\n"
    found = converted(tmp_path, *(chat(f"{instruction}{text}\n\nWho?") for text in ("x" * 60, "y" * 60)))
    assert [haystack.items for haystack in found.haystacks] == [(instruction + "x" * 60,), (instruction + "y" * 60,)]


def test_a_folder_of_questions_is_refused_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder\. Give one \.json or \.jsonl file of questions\."):
        from_squad(tmp_path)


def test_the_one_system_message_is_said(tmp_path: Path) -> None:
    assert converted(tmp_path, chat("A?", system="Be brief."), chat("B?", system="Be brief.")).system == "Be brief."
    assert converted(tmp_path, chat("A?")).system is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (chat("Who?", system="Be brief."), "line 2: its system message is not that of line 1"),
        ({"messages": chat("A")["messages"] * 2}, "line 2: its messages are of user, assistant, user, assistant, but"),
        ({"messages": chat("A")["messages"][:1]}, "line 2: its messages are of user, but a needle is one question"),
        ({"messages": []}, "line 2: its messages are of nobody"),
        ({"prompt": "A"}, "line 2: messages: field required"),
        (chat(" "), "line 2: messages.0.content: it is empty"),
        (chat("A", "\ud800"), "line 2: messages.1.content: "),
        (
            {"messages": [{"role": "tool", "content": "A"}]},
            "line 2: messages.0.role: input should be 'system', 'user' or",
        ),
        (
            {"messages": [{"role": "user", "content": "A", "weight": 0}]},
            "line 2: messages.0: a needle cannot hold weight. Remove the key, or leave the chat out",
        ),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{}], "name": "B"}]},
            "line 2: messages.0: a needle cannot hold name, tool_calls.",
        ),
        (chat("A") | {"tools": [{}]}, "line 2: tools: a needle cannot hold tools."),
    ],
)
def test_a_line_that_is_no_question_and_answer_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as error:
        converted(tmp_path, chat("Who?"), row)
    assert message in str(error.value)


def test_keys_that_say_nothing_may_be_there(tmp_path: Path) -> None:
    row = chat("Who?")
    row["messages"][0]["name"] = None
    assert converted(tmp_path, row | {"tools": [], "source": "mine"}).haystacks == converted(tmp_path, row).haystacks


def test_an_empty_file_of_chats_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no chats"):
        converted(tmp_path)


def test_the_common_length_is_counted_by_halves() -> None:
    for length in range(9):
        assert common_length("x" * length + "ab", "x" * length + "cde") == length
    assert common_length("abc", "abcd") == 3
    assert common_length("", "a") == 0
