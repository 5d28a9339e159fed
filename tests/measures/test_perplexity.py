from __future__ import annotations

import copy
import re

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from needlework.corpus import Passage
from needlework.errors import UserError
from needlework.measures import perplexity
from needlework.measures.perplexity import Text, losses, measurements, windows
from tests.train.families import tiny

PASSAGES = tuple(
    Passage(title, f"Paragraph {number} of {title} is about dictionary keys.")
    for title in ("Alpha", "Beta", "Gamma")
    for number in range(9)
)


@torch.no_grad()
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_a_text_in_blocks_has_the_losses_of_one_forward(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perplexity, "BLOCK", 7)
    model = tiny(family).eval()
    ids = torch.arange(3, 40)
    expected = cross_entropy(model(ids[None]).logits[0, :-1], ids[1:], reduction="none")
    torch.testing.assert_close(losses(model, ids.tolist()), expected, rtol=1e-4, atol=1e-4)


def test_a_text_is_measured_by_its_mean(model: LlamaForCausalLM) -> None:
    (found,) = measurements(model.eval(), [Text("5/0", "Alpha", (5, 6, 7, 8, 9))])
    assert (found.id, found.group) == ("5/0", "Alpha")
    assert found.values == {"5 tokens": pytest.approx(float(losses(model, (5, 6, 7, 8, 9)).mean()))}


def test_windows_are_exact_and_do_not_overlap(tokenizer: PreTrainedTokenizerFast) -> None:
    found = windows(PASSAGES, tokenizer, lengths=(12, 60), texts=5, seed=0)
    assert [len(each.ids) for each in found] == [12] * 5 + [60] * 5
    texts = [tokenizer.decode(each.ids) for each in found]
    held = [re.findall(r"Paragraph (\d) of (\w+) is", text) for text in texts]
    assert all(text.startswith("Paragraph") for text in texts)
    assert {(title, text.group) for text, each in zip(found, held, strict=True) for _, title in each} <= {
        (title, title) for title in ("Alpha", "Beta", "Gamma")
    }
    long = [each for window in held[5:] for each in window]
    assert len(long) == len(set(long)) > 5


def test_windows_of_another_tokenizer_are_other_texts(tokenizer: PreTrainedTokenizerFast) -> None:
    def ids() -> set[str]:
        return {each.id for each in windows(PASSAGES, tokenizer, lengths=(12,), texts=5, seed=0)}

    same = ids()
    assert same == ids()
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(["Paragraph"])
    assert not same & ids()


def test_too_little_text_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match="finds 0 windows of 4000 tokens in the text, fewer than the 2"):
        windows(PASSAGES, tokenizer, lengths=(4000,), texts=2, seed=0)
    with pytest.raises(UserError, match="all of 'Alpha'"):
        windows(PASSAGES[:9], tokenizer, lengths=(8,), texts=2, seed=0)
