from __future__ import annotations

import re

from needlework.tasks.mdqa import MDQA
from needlework.tasks.multidocqa import MultidocQA
from tests.tasks.contract import assert_keeps_the_contract, made


def test_it_keeps_the_contract_of_tasks() -> None:
    assert_keeps_the_contract(MultidocQA())


def test_the_answer_restates_the_gold_document_and_then_answers() -> None:
    for seed in range(20):
        haystack = made(MultidocQA(), 20, 8, seed)
        for needle in haystack.needles:
            form = r'According to Document \[(\d+)\], "(.*)" So the answer is: (.*)'
            number, passage, answer = re.fullmatch(form, needle.answer).groups()  # type: ignore[union-attr]
            assert int(number) == needle.position + 1
            assert haystack.items[needle.position].endswith(f") {passage}")
            assert answer in needle.accepted
            assert len(answer) == min(map(len, needle.accepted))


def test_it_asks_what_mdqa_asks_of_the_same_documents() -> None:
    ours, theirs = made(MultidocQA()), made(MDQA())
    assert ours.items == theirs.items
    assert [ours.message(needle) for needle in ours.needles] == [theirs.message(needle) for needle in theirs.needles]
