"""Answers kept for later runs: the same model, asked the same prompt in the same way, is not asked again.

Each model and backend has a file of JSON lines, which is only appended to: the first line says who answers, every
other line is an answer. Outputs are kept and not scores, so a benchmark may be asked or scored in another way.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from needlework.inference.backend import Answer, Ask
from needlework.storage import cache_folder


def default_folder() -> Path:
    """Return where answers are kept: in the user's cache."""
    return cache_folder() / "answers"


class AnswerCache:
    """The answers of one model.

    If its file cannot be read or written, that is reported and nothing more: an evaluation does not need it.

    Args:
        folder: Holds a file for each model and backend.
        identity: All that an answer depends on but the prompt and the decoding: the model's content, its tokenizer
            and chat template, the backend and its versions.
        say: Called with what is wrong with the file.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self._identity = json.dumps(identity, sort_keys=True)
        self._say = say
        self.path = folder / f"{_hash(self._identity)[:16]}.jsonl"
        self._answers = self._read()

    def find(self, ask: Ask, *, max_new_tokens: int, stop: str | None) -> Answer | None:
        """Return the answer to a prompt, if it was asked before with the same decoding."""
        return self._answers.get(_key(ask, max_new_tokens, stop))

    def add(self, answers: Iterable[tuple[Ask, Answer]], *, max_new_tokens: int, stop: str | None) -> None:
        """Keep answers."""
        new = {_key(ask, max_new_tokens, stop): answer for ask, answer in answers}
        new = {key: answer for key, answer in new.items() if key not in self._answers}
        self._answers |= new
        lines = [
            json.dumps([key, answer.output, answer.prompt_tokens, answer.output_tokens]) for key, answer in new.items()
        ]
        if not lines:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                if file.tell() == 0:
                    lines.insert(0, self._identity)
                else:
                    # A kill may have cut the last line off.
                    file.seek(-1, os.SEEK_END)
                    lines = lines if file.read(1) == b"\n" else ["", *lines]
                # In one piece, because another process may append, too.
                file.write(("\n".join(lines) + "\n").encode())
        except OSError as error:
            self._say(f"Answers are not kept for later runs: cannot write {self.path}: {error.strerror}.")

    def _read(self) -> dict[str, Answer]:
        try:
            first, *lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._say(f"No kept answers are used: cannot read {self.path}: {error.strerror}.")
            return {}
        if first.decode(errors="replace") != self._identity:
            self._say(f"No kept answers are used: {self.path} does not begin as it should. Delete it.")
            return {}
        answers, damaged = {}, 0
        for line in filter(None, lines):
            try:
                key, output, prompt_tokens, output_tokens = json.loads(line)
                if not isinstance(output, str) or not isinstance(prompt_tokens, int):
                    raise ValueError
                answers[key] = Answer(output, prompt_tokens, output_tokens)
            except (ValueError, TypeError):
                damaged += 1
        if damaged:
            self._say(f"{damaged} damaged lines of {self.path} are ignored.")
        return answers


def _key(ask: Ask, max_new_tokens: int, stop: str | None) -> str:
    return _hash(json.dumps([ask.haystack.message(ask.needle), max_new_tokens, stop]))[:32]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
