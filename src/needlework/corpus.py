"""Passages of real text and the questions asked of them: the embedded SQuAD, or the user's own files."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, StringConstraints, ValidationError

from needlework.errors import DataError
from needlework.matching import normalize
from needlework.storage import unique_keys

Half = Literal["train", "eval"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question that its passage answers."""

    text: str
    accepted: tuple[str, ...]
    id: str = ""


UNREADABLE = "cannot be read: it holds a number too long, or is nested too deeply"


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph, on one line."""

    title: str
    """What the text is about; may be empty."""
    text: str
    questions: tuple[Question, ...] = ()


def embedded(name: str, half: Half | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of an embedded file (see `data/README.md`), of one half or of both."""
    path = files("needlework") / "data" / f"{name}.jsonl.gz"
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        row = json.loads(line)
        if half is None or row["half"] == half:
            yield row


@lru_cache
def squad(half: Half) -> tuple[Passage, ...]:
    """Return the passages of one half of the embedded SQuAD, with every question."""
    return tuple(
        Passage(row["title"], row["text"], tuple(Question(text, tuple(a), id) for id, text, a in row["questions"]))
        for row in embedded("squad", half)
    )


def askable(questions: Iterable[Question]) -> tuple[Question, ...]:
    """Leave out questions with an answer so short, such as "a" or "5", that many texts hold it by chance."""
    return tuple(each for each in questions if all(len(normalize(answer)) > 2 for answer in each.accepted))


@lru_cache
def passages(source: str | None = None) -> tuple[Passage, ...]:
    """Return the passages to train on, each once.

    A source is read once in a process.

    Args:
        source: The training half of the embedded SQuAD where None, or the path of
            a `.json` file in SQuAD's form, 1.1 or 2.0;
            a `.jsonl` file with a question a line, `{"context", "question", "answers", "title"}`, where
            `answers` is a list of strings, or `{"text": [...]}` as `datasets` writes SQuAD, and `title`
            may be missing; lines of the same context are one passage;
            a folder with `.txt` files at any depth, whose paragraphs are separated by blank lines and
            are titled by the file's name.
            Questions without answers, SQuAD 2.0's impossible ones, are left out.

    Raises:
        DataError: If the source cannot be read or is malformed, naming file and line, or if it holds
            paragraphs of the embedded evaluation half.
    """
    if source is None:
        return _merged(squad("train"))
    path = Path(source)
    found = _merged(_read_folder(path) if path.is_dir() else read_questions(path))
    if not found:
        raise DataError(f"{path} holds no text.")
    evaluated = {passage.text for passage in squad("eval")}
    if overlap := [passage for passage in found if passage.text in evaluated]:
        raise DataError(
            f"{path} holds {len(overlap)} paragraphs of the embedded evaluation text, such as "
            f"{overlap[0].text[:40]!r}. Remove them: a model trained on them cannot be evaluated on that text."
        )
    return found


def read_questions(path: Path) -> Iterator[Passage]:
    """Return the passages of a file of questions (see `passages`), unchanged.

    Raises:
        DataError: If the file cannot be read or is malformed; names file and line.
    """
    if not path.exists():
        raise DataError(f"cannot read {path}: there is no such file or folder")
    if path.suffix not in (".json", ".jsonl"):
        raise DataError(f"{path} is neither a .json or .jsonl file of questions nor a folder of .txt files.")
    return _read_jsonl(path) if path.suffix == ".jsonl" else _read_squad(path)


def digest(source: str) -> str:
    """Return a hash of the passages of a source, by which a change of the text is noticed.

    Raises:
        DataError: As `passages` does.
    """
    return "sha256 " + hashlib.sha256(repr(passages(source)).encode()).hexdigest()[:16]


def _merged(found: Iterable[Passage]) -> tuple[Passage, ...]:
    """Join the questions of passages of the same text, so that none stands in a haystack twice."""
    merged: dict[str, tuple[str, list[Question]]] = {}
    for each in found:
        if text := _on_one_line(each.text):
            merged.setdefault(text, (each.title, []))[1].extend(
                _tidy(asked) for asked in each.questions if asked.accepted
            )
    return tuple(Passage(title, text, tuple(questions)) for text, (title, questions) in merged.items())


def _tidy(question: Question) -> Question:
    answers = dict.fromkeys(map(_on_one_line, question.accepted))
    return Question(_on_one_line(question.text), tuple(answers), question.id)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


Filled = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
# The constraint makes pydantic refuse what is no text: half of a surrogate pair.
Title = Annotated[str, StringConstraints(strip_whitespace=True)]


def _answers(value: Any) -> Any:
    # `datasets` writes SQuAD's answers as columns.
    return value["text"] if isinstance(value, dict) and "text" in value else value


class _Answer(BaseModel):
    text: Filled


class _Asked(BaseModel):
    question: Filled
    answers: list[_Answer]


class _Paragraph(BaseModel):
    context: Filled
    qas: list[_Asked]


class _Article(BaseModel):
    title: Title = ""
    paragraphs: list[_Paragraph]


class _Squad(BaseModel):
    data: list[_Article]


Row = TypeVar("Row", bound=BaseModel)


class _Row(BaseModel):
    context: Filled
    question: Filled
    answers: Annotated[list[Filled], BeforeValidator(_answers)]
    title: Title | None = None


def _read_squad(path: Path) -> Iterator[Passage]:
    try:
        content = _Squad.model_validate(json.loads(_text(path), object_pairs_hook=unique_keys))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON: {error.msg} at column {error.colno}") from None
    except ValidationError as error:
        raise DataError(f"{path} is not in SQuAD's form: {_fault(error)}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path} {UNREADABLE}") from None
    for article in content.data:
        title = _on_one_line(article.title.replace("_", " "))
        for paragraph in article.paragraphs:
            asked = (Question(each.question, tuple(answer.text for answer in each.answers)) for each in paragraph.qas)
            yield Passage(title, paragraph.context, tuple(asked))


def _read_jsonl(path: Path) -> Iterator[Passage]:
    for _, row in read_rows(path, _Row):
        yield Passage(_on_one_line(row.title or ""), row.context, (Question(row.question, tuple(row.answers)),))


def read_rows(path: Path, kind: type[Row]) -> Iterator[tuple[int, Row]]:
    """Yield the number of each line of a JSONL file, `.gz` or not, from 1, and what it holds.

    Raises:
        DataError: If the file cannot be read or is malformed; names file and line.
    """
    # Not splitlines, which also splits at characters that JSON allows inside strings.
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield number, kind.model_validate(json.loads(line, object_pairs_hook=unique_keys))
            except DataError as error:
                raise DataError(f"{path}, line {number}: {error}") from None
            except json.JSONDecodeError as error:
                raise DataError(f"{path}, line {number}: not JSON: {error.msg} at column {error.colno}") from None
            except ValidationError as error:
                raise DataError(f"{path}, line {number}: {_fault(error)}") from None
            except (ValueError, RecursionError):
                raise DataError(f"{path}, line {number} {UNREADABLE}") from None


def _read_folder(folder: Path) -> Iterator[Passage]:
    paths = sorted(folder.rglob("*.txt"))
    if not paths:
        raise DataError(f"{folder} holds no .txt files.")
    for path in paths:
        for paragraph in re.split(r"\n\s*\n", _text(path)):
            yield Passage(path.stem.replace("_", " "), paragraph)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: not a whole gzip file ({error})") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"cannot read {path}, line {line}: not UTF-8 text") from None


def _fault(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    # pydantic's own words name a class of ours.
    message = "it should be an object" if first["type"] == "model_type" else first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{place}: {message}" if place else message
