from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

from needlework.measures.packed import answer_logits
from needlework.models.chat import PackedRow
from needlework.train.collator import collate
from needlework.train.shared_prefix import packed_attention

ROW = PackedRow((5, 6, 7), ((8, 9), (10, 11, 12)), (1, 2))


@torch.no_grad()
def test_packed_answers_are_predicted_as_in_rows_of_their_own(model: LlamaForCausalLM) -> None:
    model.eval()
    with packed_attention(model):
        found = answer_logits(model, collate(ROW))
    rows = [[5, 6, 7, 8, 9], [5, 6, 7, 10, 11, 12]]
    first, second = (model(torch.tensor([row])).logits[0] for row in rows)
    torch.testing.assert_close(found, torch.cat([first[3:4], second[3:5]]), rtol=1e-4, atol=1e-4)
