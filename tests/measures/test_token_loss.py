from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import ModelError
from needlework.measures.token_loss import measurements, parts
from needlework.models.chat import Renderer
from needlework.tasks import make_task
from tests.conftest import CHAT_ML, DIGITS, INST, make_tokenizer

ANSWER = "The value of key 9205 is 9318 and it is in Dictionary [2]."


@pytest.mark.parametrize("template", [CHAT_ML, INST, None], ids=["chatml", "inst", "none"])
@pytest.mark.parametrize("digits", DIGITS)
def test_each_token_belongs_to_its_part(digits: str, template: str | None) -> None:
    tokenizer = make_tokenizer(digits, template)
    ids = tokenizer(ANSWER + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    kinds = parts(ANSWER, ids, tokenizer)
    said = {kind: [each for each, own in zip(ids, kinds, strict=True) if own == kind] for kind in set(kinds)}
    numbers = {"key": "9205", "value": "9318", "dictionary": "2"}
    assert {name: tokenizer.decode(said[name]) for name in numbers} == numbers
    assert tokenizer.decode(said["template"]) == "The value of key  is  and it is in Dictionary []."
    assert tokenizer.decode(said["end"]) == tokenizer.eos_token


def test_an_answer_that_the_tokenizer_changes_is_refused(renderer: Renderer) -> None:
    ids = renderer.encode(["Another answer"])[0]
    with pytest.raises(ModelError, match=r"turns the answer .* into 'Another answer'"):
        parts(ANSWER, ids, renderer.tokenizer)


@torch.no_grad()
def test_losses_are_those_of_rows_of_their_own(model: LlamaForCausalLM, renderer: Renderer) -> None:
    model.eval()
    haystack = SyntheticDataset(make_task("simple_dict"), 1, 3, 900, renderer, num_items=(3, 3))[0]
    found = list(measurements(model, renderer, [haystack]))
    for each, needle, (prompt, completion) in zip(found, haystack.needles, renderer.rows(haystack), strict=True):
        assert (each.id, each.group) == (needle.id, haystack.id)
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        losses = cross_entropy(logits, torch.tensor(completion), reduction="none")
        kinds = parts(needle.answer, completion, renderer.tokenizer)
        own = losses[[kind == "value" for kind in kinds]]
        assert each.values["value"] == pytest.approx(float(own.mean()), rel=1e-4)
        assert each.values["answer"] == pytest.approx(float(losses.mean()), rel=1e-4)
