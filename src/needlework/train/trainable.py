"""Which parameters are trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
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


def save_adapter(model: PeftModel, folder: Path, weights: dict[str, torch.Tensor] | None) -> None:
    """Write LoRA's matrices alone, as a folder that PEFT reads.

    Args:
        model: As `select` returned it.
        folder: Of the adapter.
        weights: The model's whole state where it is sharded; by default its own.
    """
    config: Any = model.peft_config["default"]
    if (base := Path(config.base_model_name_or_path)).is_dir():
        # A relative path would be looked for from wherever the adapter is loaded.
        config.base_model_name_or_path = str(base.resolve())
    # Embeddings are not trained; to find that out for itself, PEFT would ask the hub.
    model.save_pretrained(str(folder), state_dict=weights, save_embedding_layers=False)
    # PEFT writes a card that knows nothing of the run, and gives the path of a local base model.
    (folder / "README.md").unlink()
