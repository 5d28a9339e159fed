"""Loss per answer token on key-value needles, by what the token is: where in an answer a model fails.

The model reads the true answer and is asked for each next token. Template words can be known without the
haystack; key, value and dictionary number have to be found in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from needlework.errors import ModelError
from needlework.haystack import Haystack
from needlework.measures import Measurement
from needlework.measures.packed import answer_logits
from needlework.measures.spans import decoded, holding
from needlework.models.chat import Renderer
from needlework.train.collator import collate
from needlework.train.shared_prefix import packed_attention

NUMBERS = ("key", "value", "dictionary")
"""The numbers of an answer, in their order."""


def measurements(model: PreTrainedModel, renderer: Renderer, haystacks: Sequence[Haystack]) -> Iterator[Measurement]:
    """Yield the mean loss, in nats, of each part of each needle's answer and of the whole answer.

    Args:
        model: The model.
        renderer: Its tokenizer and chat template.
        haystacks: Haystacks of the task `simple_dict`.

    Raises:
        ModelError: If packed rows are not exact for this model; says why.
    """
    with packed_attention(model):
        for haystack in haystacks:
            row = renderer.pack(haystack)
            inputs = collate(row)
            losses = cross_entropy(answer_logits(model, inputs).float().cpu(), inputs["labels"], reduction="none")
            answers = zip(losses.split(row.answers), inputs["labels"].split(row.answers), strict=True)
            for needle, (loss, ids) in zip(haystack.needles, answers, strict=True):
                kinds = np.array(parts(needle.answer, ids.tolist(), renderer.tokenizer))
                found = loss.numpy()
                values = {kind: float(found[kinds == kind].mean()) for kind in dict.fromkeys(kinds.tolist())}
                yield Measurement(needle.id, haystack.id, values | {"answer": float(found.mean())})


def parts(answer: str, ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return for each token of a completion which part of the answer it is.

    It is `key`, `value` or `dictionary` where it holds any of that number's digits, `end` after the answer
    (the end of turn), and otherwise `template`.

    Raises:
        ModelError: If the tokenizer does not give the answer back.
    """
    text, tokens = decoded(ids, tokenizer)
    begin = text.find(answer)
    if begin < 0:
        raise ModelError(f"the tokenizer turns the answer {answer!r} into {text!r}, so its parts cannot be told apart.")
    kinds = ["end" if start >= begin + len(answer) else "template" for start, _ in tokens]
    for name, number in zip(NUMBERS, re.finditer(r"\d+", answer), strict=True):
        for index in holding(tokens, (begin + number.start(), begin + number.end())):
            kinds[index] = name
    return kinds
