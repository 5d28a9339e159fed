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
"""Variants of one function that may be compiled before it runs uncompiled. PyTorch's 8 are too few for first and other
layers, with and without a window, in training and in a check. Only the forward's own thread has this limit."""


@contextmanager
def compiled_layers(model: PreTrainedModel) -> Iterator[None]:
    """Compile the model's layers when they first run, for rows of any length; the model is left uncompiled.

    Args:
        model: A model with shared-prefix attention.

    Raises:
        UserError: If a layer cannot be compiled, as without a C++ compiler.
    """
    from torch._dynamo.exc import TorchDynamoException
    from transformers import AttentionInterface

    # The last layer leaves out the prefix, whose length would be compiled into it.
    layers = decoder_layers(model)[:-1]
    # DDP would otherwise have the layers cut where its messages begin; they are parts enough.
    config = torch._dynamo.config.patch(recompile_limit=VARIANTS, optimize_ddp=False)
    try:
        # If the compiler read the layout, it would compile anew for each row.
        AttentionInterface.register(ATTENTION, torch.compiler.disable(shared_prefix_attention))
        for layer in layers:
            layer.forward = partial(_forward, layer, torch.compile(_without_checkpointing(layer), dynamic=True))
        with config:
            yield
    except TorchDynamoException as error:
        raise UserError(f"torch.compile failed: {_reason(error)}. Or set train.compile=false.") from error
    finally:
        AttentionInterface.register(ATTENTION, shared_prefix_attention)
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _without_checkpointing(layer: torch.nn.Module) -> Callable[..., torch.Tensor]:
    """Return the layer's forward inside transformers' checkpointing, which the compiler does not enter."""
    return cast("Callable[..., torch.Tensor]", cast(Any, type(layer)).forward.__wrapped__)


def _forward(layer: Any, compiled: Callable[..., torch.Tensor], *args: Any, **options: Any) -> torch.Tensor:
    run = partial(compiled, layer, **options)
    checkpointed = layer.gradient_checkpointing and layer.training
    return cast(torch.Tensor, layer._gradient_checkpointing_func(run, *args) if checkpointed else run(*args))


def _reason(error: Exception) -> str:
    """Return what went wrong, and what to do about it, of an error that can hold all that a compiler printed."""
    cause = getattr(error, "inner_exception", error)
    lines = str(cause).splitlines()
    said = next((line for line in lines if "error:" in line), lines[0] if lines else type(cause).__name__).strip()
    if type(cause).__name__ == "InvalidCxxCompiler":
        return f"{said.removesuffix('.')}. Install one, such as g++"
    return said.removesuffix(".")
