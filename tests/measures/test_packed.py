from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from needlework.errors import ModelError
from needlework.measures.packed import answer_logits, packed_attention
from needlework.models.chat import PackedRow
from needlework.train.collator import collate

ROW = PackedRow((5, 6, 7), ((8, 9), (10, 11, 12)), (1, 2))


@torch.no_grad()
def test_packed_answers_are_predicted_as_in_rows_of_their_own(model: LlamaForCausalLM) -> None:
    model.eval()
    with packed_attention(model):
        found = answer_logits(model, collate(ROW))
    rows = [[5, 6, 7, 8, 9], [5, 6, 7, 10, 11, 12]]
    first, second = (model(torch.tensor([row])).logits[0] for row in rows)
    torch.testing.assert_close(found, torch.cat([first[3:4], second[3:5]]), rtol=1e-4, atol=1e-4)


def test_afterwards_the_model_attends_as_before(model: LlamaForCausalLM) -> None:
    before = model.config._attn_implementation
    with pytest.raises(KeyError), packed_attention(model):
        raise KeyError
    assert model.config._attn_implementation == before


def test_a_model_for_which_it_is_not_exact_is_refused() -> None:
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=16))
    with pytest.raises(ModelError, match="not proven exact for 'gpt2' models"), packed_attention(model):
        pass
