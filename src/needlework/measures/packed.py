"""The forward of a packed row, in which all needles of a haystack cost one context."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from needlework.train.shared_prefix import confirm


@torch.inference_mode()
def answer_logits(model: PreTrainedModel, inputs: dict[str, Any]) -> torch.Tensor:
    """Return the logits that predict the answer tokens of a packed row, shape [A, vocabulary].

    Args:
        model: The model, within `packed_attention`.
        inputs: What the collator made of the row.
    """
    placed = {name: inputs[name].to(model.device) for name in ("input_ids", "position_ids", "logits_to_keep")}
    logits: torch.Tensor = model(**placed, layout=inputs["layout"], use_cache=False).logits[0]
    confirm(inputs["layout"], model)
    return logits
