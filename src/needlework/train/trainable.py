"""Which parameters are trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from needlework.models.families import PROJECTIONS

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Trainable = Literal["attention", "full", "lora"]


def select(model: PreTrainedModel, trainable: Trainable, *, lora_rank: int = 16) -> PreTrainedModel:
    """Freeze all but the chosen parameters, in place, and return the model to train.

    Attention projections are our default: retrieval lives in attention heads (arXiv 2404.15574), and
    what the rest of the model knows stays as it is. The paper does not say which layers it trains. The norms of
    queries and keys (Gemma 3, OLMo, Qwen3) stay as they are: the same part is trained in every family, and by LoRA,
    which reaches matrices alone.
    """
    if trainable == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, lora_dropout=0.0, target_modules=list(PROJECTIONS))
        return get_peft_model(model, config)  # type: ignore[return-value]
    for name, parameter in model.named_parameters():
        module = name.split(".")[-2]
        parameter.requires_grad = trainable == "full" or module in PROJECTIONS
    return model


def frozen_matrices(model: PreTrainedModel) -> list[torch.nn.Linear]:
    """Return the modules that only multiply with a matrix that is not trained."""
    # A head that is tied to the embeddings also looks numbers up, and those stay fp32 from there on.
    looked_up = model.get_input_embeddings().weight
    linear = (each for each in model.modules() if isinstance(each, torch.nn.Linear))
    return [each for each in linear if not each.weight.requires_grad and each.weight is not looked_up]


def hold_in_bf16(model: PreTrainedModel) -> None:
    """Hold frozen matrices in bf16, in place, where all their numbers are bf16 numbers, as most models' are.

    For a training by bf16 autocast, which rounds matrices to bf16 for each product: what it computes stays the same,
    without the copy and with half the memory.
    """
    for module in frozen_matrices(model):
        rounded = module.weight.detach().bfloat16()
        if torch.equal(rounded.float(), module.weight):
            module.weight.data = rounded


def merge(model: PeftModel) -> PreTrainedModel:
    """Return LoRA's model with what was learned added to its matrices, in fp32."""
    for module in model.modules():
        if isinstance(base := getattr(module, "base_layer", None), torch.nn.Linear):
            base.float()
    merged: PreTrainedModel = model.merge_and_unload()
    return merged


def save_adapter(model: PeftModel, folder: Path, weights: dict[str, torch.Tensor] | None) -> None:
    """Write LoRA's matrices alone, as a folder that PEFT reads.

    Args:
        model: As `select` returned it.
        folder: The adapter's folder.
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
