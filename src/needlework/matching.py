"""Whether a text holds an answer: SQuAD's normalisation, the same in training data and in scoring."""

from __future__ import annotations

import re
import string

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower-case, and drop punctuation, articles and extra white space (SQuAD's `normalize_answer`)."""
    text = text.lower().translate(_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())
