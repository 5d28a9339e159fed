"""The official files of Liu et al., *Lost in the Middle* (github.com/nelson-liu/lost-in-the-middle), read and checked.

Fields that prompts and scoring do not need are ignored; those they need are required.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field

from needlework.corpus import Filled, Passage, Question, read_rows
from needlework.downloads import local
from needlework.errors import DataError

# Not stripped: a prompt has the blanks that the official one has.
_Text = Annotated[str, Field(pattern=r"\S")]


class _Document(BaseModel):
    title: str
    text: _Text
    isgold: bool


class _Asked(BaseModel):
    question: _Text
    answers: list[Filled] = Field(min_length=1)
    ctxs: list[_Document] = Field(min_length=1)


class _Records(BaseModel):
    ordered_kv_records: list[tuple[str, str]]
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Documents:
    """A question of a file of `qa_data/`, with its documents."""

    gold: Passage
    """With the question, whose id is that of the line."""
    others: tuple[Passage, ...]
    """The distractors in the order of the file; none in the oracle file."""
    place: int
    """Where the file has the gold document, from 1."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """A row of a file of `kv_retrieval_data/`."""

    line: int
    others: tuple[tuple[str, str], ...]
    """All pairs but the gold one, in the order of the file."""
    key: str
    value: str


def read_documents(source: str) -> list[Documents]:
    """Read the questions of an oracle or N-document file, given by path or address.

    Raises:
        DataError: If it cannot be read, or a line lacks a field or its one gold document; names file and line.
    """
    found: list[Documents] = []
    path = local(source)
    for line, row in read_rows(path, _Asked):
        golds = [index for index, each in enumerate(row.ctxs) if each.isgold]
        if len(golds) != 1:
            raise DataError(f"{path}, line {line}: {len(golds)} of {len(row.ctxs)} ctxs are gold (isgold), not one")
        if found and len(row.ctxs) != (count := len(found[0].others) + 1):
            raise DataError(f"{path}, line {line}: {len(row.ctxs)} ctxs, but the lines before have {count}")
        question = Question(row.question, tuple(row.answers), f"line {line}")
        gold, *others = [row.ctxs[golds[0]], *(each for each in row.ctxs if not each.isgold)]
        documents = tuple(Passage(each.title, each.text) for each in others)
        found.append(Documents(Passage(gold.title, gold.text, (question,)), documents, golds[0] + 1))
    if not found:
        raise DataError(f"{path} holds no questions: it is empty.")
    return found


def read_pairs(source: str) -> list[Pairs]:
    """Read the rows of a key-value file, given by path or address.

    Raises:
        DataError: If it cannot be read, a line lacks a field or its gold pair, or a key comes twice; names file and
            line.
    """
    found: list[Pairs] = []
    path = local(source)
    for line, row in read_rows(path, _Records):
        gold = (row.key, row.value)
        if gold not in row.ordered_kv_records:
            raise DataError(f"{path}, line {line}: ordered_kv_records lacks the pair of key {row.key!r} and its value")
        if len({key for key, _ in row.ordered_kv_records}) < len(row.ordered_kv_records):
            raise DataError(f"{path}, line {line}: a key of ordered_kv_records occurs twice")
        others = tuple(pair for pair in row.ordered_kv_records if pair != gold)
        found.append(Pairs(line, others, row.key, row.value))
    if not found:
        raise DataError(f"{path} holds no rows: it is empty.")
    return found
