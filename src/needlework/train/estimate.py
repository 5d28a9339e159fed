"""What a training takes, estimated before anything is loaded: parameters, operations and memory.

All of it is arithmetic on the model's configuration and on packed rows, for decoders of the proven families; only
the rate of a matrix product is measured. docs/training.md has the formulas, and compares them with a training.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from needlework.models.chat import PackedRow
from needlework.models.loading import Precision
from needlework.train.trainable import Trainable, frozen_matrices, select

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def shapes(config: PreTrainedConfig, trainable: Trainable, *, lora_rank: int) -> PreTrainedModel:
    """Return the model to train on the meta device, where parameters have shapes and no values."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return select(AutoModelForCausalLM.from_config(config), trainable, lora_rank=lora_rank)


def parameters(model: PreTrainedModel) -> tuple[int, int]:
    """Return how many parameters there are, and how many of them are trained."""
    sizes = [(each.numel(), each.requires_grad) for each in model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)


def tokens(row: PackedRow) -> int:
    """Return the tokens of a packed row."""
    return len(row.prefix) + sum(map(len, row.branches))


def operations(model: PreTrainedModel, row: PackedRow, *, checkpointing: bool) -> int:
    """Return the floating-point operations of a packed row, forward and backward.

    A matrix of N numbers takes 2 N a token forward, 2 N for the gradient of its input, and 2 N for its own where it
    is trained. Attention takes 4 D for each pair of a query and a key it sees, D the width of all heads, and 10 D
    backward, where scores are computed again. Checkpointing repeats the layers' forward. Windows are not deducted, nor
    what the first layer and the last product of a layer that is repeated can leave out: it is a little too much.

    Args:
        model: As `shapes` returns it.
        row: The row.
        checkpointing: Whether activations are computed again in the backward.
    """
    prefix, branches = len(row.prefix), [len(branch) for branch in row.branches]
    layers: int = model.config.get_text_config().num_hidden_layers
    head, again = model.get_output_embeddings(), 2 * checkpointing
    branches_only = re.compile(rf"\blayers\.{layers - 1}\.(mlp|self_attn\.[qo]_proj)\b")
    total = 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            times = 4 + 2 * module.weight.requires_grad
            rows = sum(branches) if branches_only.search(name) else tokens(row)
            total += module.weight.numel() * (sum(row.answers) * times if module is head else rows * (times + again))
    pairs = prefix * sum(branches) + sum(each**2 // 2 for each in branches)
    queries, _ = _widths(model)
    return total + (14 + 2 * again) * queries * (layers * pairs + (layers - 1) * prefix**2 // 2)


def memory(model: PreTrainedModel, row: PackedRow, precision: Precision, *, checkpointing: bool) -> dict[str, int]:
    """Return the bytes of a training at its peak, by what takes them.

    Weights, gradients and AdamW's two moments are fp32, except frozen matrices of a model that was published in bf16:
    bf16 autocast multiplies with these as they are. Of all other matrices it keeps a copy until the backward, with
    checkpointing only of those that are trained. For the backward, a layer keeps of each token:

        in fp32                            its input, and that of its MLP
        in the precision of the products   the input of the projections; queries, keys and values; the output of the
                                           attention, by heads and joined; three times the MLP's inner width
        if everything is trained           the inputs of the norms and of the MLP's matrices, too

    The last layer keeps the MLP's part of branch rows alone. With checkpointing, one layer keeps all of this and the
    others their input.

    Args:
        model: As `shapes` returns it.
        row: The longest row.
        precision: bf16 trains under autocast.
        checkpointing: Whether activations are computed again in the backward.
    """
    config, size, length = model.config.get_text_config(), DTYPES[precision].itemsize, tokens(row)
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    queries, keys = _widths(model)
    count, trained = parameters(model)
    layer = 2 * hidden * 4 + size * (hidden + 3 * queries + 2 * keys + 3 * inner)
    mlp = size * 3 * inner
    if model.get_input_embeddings().weight.requires_grad:
        layer += size * (3 * hidden + inner)
        mlp += size * inner
    if checkpointing:
        activations = length * (layer + (layers - 1) * hidden * 4)
    else:
        activations = length * layers * layer - len(row.prefix) * mlp
    # Logits, their softmax and its gradient.
    activations += sum(row.answers) * config.vocab_size * 3 * 4
    is_held = precision == "bf16" and model.config.dtype == torch.bfloat16
    held = sum(each.weight.numel() for each in frozen_matrices(model)) if is_held else 0
    copies = 0 if precision == "fp32" else size * (trained if checkpointing else count - held)
    parts = {"weights": 4 * count - 2 * held, "gradients": 4 * trained, "AdamW": 8 * trained}
    return parts | ({"bf16 copies": copies} if copies else {}) | {"activations": activations}


def rate(precision: Precision) -> float:
    """Return the floating-point operations a second of a matrix product here, on the GPU if there is one."""
    from torch.utils.benchmark import Timer

    # Large enough to be bound by arithmetic, and a tenth of a second on two cores.
    size, device = (8192, "cuda") if torch.cuda.is_available() else (2048, "cpu")
    values = {name: torch.randn(size, size, dtype=DTYPES[precision], device=device) for name in ("left", "right")}
    timer = Timer("left @ right", globals=values, num_threads=torch.get_num_threads())
    return float(2 * size**3 / timer.blocked_autorange(min_run_time=1).median)


def _widths(model: PreTrainedModel) -> tuple[int, int]:
    """Return the width of all heads' queries, and of their keys."""
    config = model.config.get_text_config()
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_attention_heads * dim, config.num_key_value_heads * dim
