from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from needlework.haystack import Haystack, read
from tests.test_cli import call

LEASE = "The tenant pays 950 euros on the third of each month, and 20 more for each day that passes."


def test_squad_becomes_haystacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    qas = [{"question": "How much?", "answers": [{"text": "950 euros"}]}, {"question": "Why?", "answers": []}]
    content = {"data": [{"paragraphs": [{"context": LEASE, "qas": qas}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(content))
    output = tmp_path / "new" / "haystacks.jsonl"
    assert call(monkeypatch, "convert", "squad", str(tmp_path / "squad.json"), "--output", str(output)) == 0
    printed = capsys.readouterr().out
    assert printed == f"1 haystacks with 1 needles: {output}\nLeft out: 1 questions without an answer.\n"
    (haystack,) = read(Haystack, output)
    assert haystack.message(haystack.needles[0]) == f"{LEASE}\n\nHow much?"


def test_chats_become_haystacks_and_their_system_message_a_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, output = tmp_path / "chats.jsonl", tmp_path / "haystacks.jsonl"
    roles = ("system", "user", "assistant")
    chats = [zip(roles, ("Don't: guess.", f"{LEASE}\n\n{each}?", "So."), strict=True) for each in ("How", "When")]
    rows = [{"messages": [{"role": role, "content": text} for role, text in chat]} for chat in chats]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call(monkeypatch, "convert", "messages", str(source), "--output", str(output)) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"1 haystacks with 2 needles: {output}"
    # The setting is read as it was written, quotes, colon and all.
    import shlex

    dry = ["finetune", "--data", str(output), "--dry-run", *shlex.split(second.partition("with ")[2])]
    assert call(monkeypatch, *dry) == 0
    assert "system: 'Don''t: guess.'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["squad", "none.json", "--output", "x"], "cannot read none.json"),
        (["squad", "chats.jsonl", "--output", "x"], "chats.jsonl, line 1: context: field required"),
        (["messages", "chats.jsonl", "--output", "chats.jsonl"], "--output chats.jsonl is the file that is read"),
        (["messages", "chats.jsonl", "--output", "."], "--output . is a folder"),
        (["messages", "chats.jsonl", "--output", os.devnull], f"--output {os.devnull} is a device or a pipe"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    chat = {"messages": [{"role": "user", "content": LEASE}, {"role": "assistant", "content": "So."}]}
    Path("chats.jsonl").write_text(json.dumps(chat))
    assert call(monkeypatch, "convert", *arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("needlework: ")
    assert message in line
    assert [each.name for each in tmp_path.iterdir()] == ["chats.jsonl"]
    assert json.loads(Path("chats.jsonl").read_text()) == chat


def test_a_link_is_written_through_and_nothing_else_is_touched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    chat = {"messages": [{"role": "user", "content": LEASE}, {"role": "assistant", "content": "So."}]}
    Path("mine.jsonl.tmp").write_text(json.dumps(chat))
    Path("link.jsonl").symlink_to("mine.jsonl")
    assert call(monkeypatch, "convert", "messages", "mine.jsonl.tmp", "--output", "link.jsonl") == 0
    assert Path("link.jsonl").is_symlink()
    assert len(list(read(Haystack, "mine.jsonl"))) == 1
    assert json.loads(Path("mine.jsonl.tmp").read_text()) == chat
    assert len(list(tmp_path.iterdir())) == 3
