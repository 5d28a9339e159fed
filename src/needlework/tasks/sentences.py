"""Sentences of a passage, and the one that answers a question."""

from __future__ import annotations

import re
from functools import lru_cache

from needlework.corpus import Question
from needlework.matching import normalize

# A sentence's end with closing quotes, brackets and Wikipedia's "[citation needed]" or ":245", before a space and
# what may begin the next.
_END = re.compile(r"[.!?](?:[\"'\u201d\u2019)\]]|\[[^\]]*\]|:\d+)*(?= [\"'\u201c\u2018(\[]*[A-Z0-9])")
# A word whose full stop ends no sentence: "J. R. R. Tolkien", "the U.S. Army", "e.g. Paris", "c. 1500", "Dr. King".
_ABBREVIATION = re.compile(
    r"\W*([a-z]|([a-z]\.)+[a-z]|mr|mrs|ms|dr|prof|rev|gen|col|lt|capt|sgt|gov|sen|rep|st|mt|ft|jr|sr|co|corp|inc|ltd"
    r"|no|vol|fig|vs|cf|ca)",
    re.IGNORECASE,
)


def sentences(text: str) -> list[str]:
    """Split a text on one line into sentences; joined by spaces they are the text again.

    It splits too seldom rather than too often: initials and the abbreviations it knows end no sentence.
    """
    found, start = [], 0
    for match in _END.finditer(text):
        word = text[max(start, text.rfind(" ", start, match.start()) + 1) : match.start()]
        if not _ABBREVIATION.fullmatch(word):
            found.append(text[start : match.end()])
            start = match.end() + 1
    return [*found, text[start:]]


def support(text: str, question: Question) -> str:
    """Return the sentence of a passage that answers a question, or "" where no sentence holds an answer.

    Of the sentences that contain an accepted answer as whole words, it is the one that shares the most words of
    more than three letters with the question, the first if tied. The choice is ours: SQuAD marks where each
    answer is, but the embedded copy and most users' files do not.
    """
    answers = [f" {normalize(answer)} " for answer in question.accepted]
    wanted = _words(normalize(question.text))
    best, most = "", -1
    for sentence, normalized in _normalized(text):
        shared = len(wanted & _words(normalized))
        if shared > most and any(answer in f" {normalized} " for answer in answers):
            best, most = sentence, shared
    return best


@lru_cache(maxsize=64)  # all questions of a passage come in succession
def _normalized(text: str) -> list[tuple[str, str]]:
    return [(sentence, normalize(sentence)) for sentence in sentences(text)]


def _words(normalized: str) -> set[str]:
    return {word for word in normalized.split() if len(word) > 3}
