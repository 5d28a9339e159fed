from __future__ import annotations

import pytest

from needlework.corpus import Question, passages
from needlework.tasks.sentences import sentences, support


@pytest.mark.parametrize(
    "found",
    [
        ["One.", "Two!", "Three?", "4 men."],
        ['He said "Never."', "(They left.)", "“So what?”", "End"],
        ["J. R. R. Tolkien met Dr. King of the U.S. Army in c. 1950.", "He left."],
        ["See Fig. 3, e.g. Paris.", "It is 3.5 km away."],
        ["It began in 1968.[citation needed]", "He was told.:245", "That was all."],
    ],
)
def test_sentences_end_where_a_reader_would_end_them(found: list[str]) -> None:
    assert sentences(" ".join(found)) == found


def test_sentences_joined_are_the_text_again() -> None:
    for passage in passages():
        found = sentences(passage.text)
        assert " ".join(found) == passage.text
        assert all(found)


def test_the_supporting_sentence_shares_most_words_with_the_question() -> None:
    text = "Zog was king in 1312. Zog built the harbour of Tarn in 1312. Others came in 1312."
    assert support(text, Question("When was the harbour built?", ("1312",))) == "Zog built the harbour of Tarn in 1312."
    assert support(text, Question("When?", ("1312",))) == "Zog was king in 1312."


def test_the_supporting_sentence_holds_an_answer_as_whole_words() -> None:
    text = "Most men came by sea. Ten of them stayed."
    assert support(text, Question("How many men came and stayed?", ("the ten",))) == "Ten of them stayed."
    assert support(text, Question("Where?", ("land",))) == ""
