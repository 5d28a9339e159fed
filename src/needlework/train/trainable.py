"""Which parameters are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Trainable = Literal["attention", "full", "lora"]

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj")
"""Names of attention's projections; Phi-3 has the first three in one.

The norms of queries and keys (Gemma 3, OLMo, Qwen3) stay as they are: the same part is trained in every
family, and by LoRA, which reaches matrices alone.
"""


def select(model: PreTrainedModel, trainable: Trainable, *, lora_rank: int = 16) -> PreTrainedModel:
    """Freeze all but the chosen parameters, in place, and return the model to train.

    Attention projections are our default: retrieval lives in attention heads (arXiv 2404.15574), and
    what the rest of the model knows stays as it is. The paper does not say which layers it trains.
    """
    if trainable == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, lora_dropout=0.0, target_modules=list(PROJECTIONS))
        return get_peft_model(model, config)  # type: ignore[return-value]
    for name, parameter in model.named_parameters():
        module = name.split(".")[-2]
        parameter.requires_grad = trainable == "full" or module in PROJECTIONS
    return model
