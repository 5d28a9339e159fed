"""Layers compiled by torch.compile: their norms, rotary embeddings and activations become a few kernels, which keep
less for the backward. Attention stays as it is, between the compiled parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch

from needlework.errors import UserError
from needlework.train.last_layer import decoder_layers
from needlework.train.shared_prefix import ATTENTION, shared_prefix_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VARIANTS = 64
"""Kernels of one function that may be compiled before it runs uncompiled. PyTorch's 8 are too few for first, middle and
last layers, with and without a window, in training and in a check."""


@contextmanager
def compiled_layers(model: PreTrainedModel) -> Iterator[None]:
    """Compile the model's layers when they first run, for rows of any length, and let go of that at the end.

    Args:
        model: A model with shared-prefix attention.

    Raises:
        UserError: If a layer cannot be compiled, most often because there is no C++ compiler.
    """
    from torch._dynamo.exc import TorchDynamoException
    from transformers import AttentionInterface

    # The last layer leaves out the prefix, whose length would be compiled into it.
    layers = decoder_layers(model)[:-1]
    # Of the layout, which differs from row to row, the compiler would make a variant each.
    AttentionInterface.register(ATTENTION, torch.compiler.disable(shared_prefix_attention))
    for layer in layers:
        layer.forward = partial(_forward, layer, torch.compile(_uncompiled(layer), dynamic=True))
    try:
        with torch._dynamo.config.patch(recompile_limit=VARIANTS):
            yield
    except TorchDynamoException as error:
        raise UserError(
            f"torch.compile failed ({str(error).splitlines()[0]}). Install a C++ compiler, or set train.compile=false."
        ) from error
    finally:
        AttentionInterface.register(ATTENTION, shared_prefix_attention)
        for layer in layers:
            del layer.forward


def _uncompiled(layer: torch.nn.Module) -> Callable[..., torch.Tensor]:
    """Return the layer's forward without transformers' checkpointing around it, which the compiler gives up at."""
    return cast("Callable[..., torch.Tensor]", cast(Any, type(layer)).forward.__wrapped__)


def _forward(layer: Any, compiled: Callable[..., torch.Tensor], *args: Any, **options: Any) -> torch.Tensor:
    run = partial(compiled, layer, **options)
    checkpointed = layer.gradient_checkpointing and layer.training
    return cast(torch.Tensor, layer._gradient_checkpointing_func(run, *args) if checkpointed else run(*args))
