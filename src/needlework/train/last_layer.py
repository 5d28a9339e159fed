"""The last layer computes the prefix's keys and values only.

Branches see no more of its prefix rows than that, so its queries, and what follows the attention, the output projection
and the MLP, are computed for branch rows alone. The others' places in the row stay, filled with zeros that nobody
reads. Phi-3 computes queries, keys and values by one product, which is left as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel


def decoder_layers(model: PreTrainedModel) -> list[torch.nn.Module]:
    """Return the model's layers, in order."""
    return [each for each in model.modules() if hasattr(getattr(each, "self_attn", None), "layer_idx")]


def skip_last_prefix(model: PreTrainedModel) -> list[RemovableHandle]:
    """Make modules of the last layer leave out the prefix rows, whose number the layout gives; return the hooks."""
    hooks = []
    for layer in cast("list[Any]", decoder_layers(model)[-1:]):
        queries = [layer.self_attn.q_proj] if hasattr(layer.self_attn, "q_proj") else []
        hooks += _BranchRowsOnly(layer, [*queries, layer.self_attn.o_proj, layer.mlp]).hooks
    return hooks


class _BranchRowsOnly:
    """Hooks that cut the prefix rows off what goes into modules of a layer, and put zeros in their place afterwards.

    Without a layout, as in ordinary use of the model afterwards, they change nothing; nor do they twice.
    """

    def __init__(self, layer: torch.nn.Module, modules: list[torch.nn.Module]) -> None:
        self.first = self.rows = 0
        self.hooks = [layer.register_forward_pre_hook(self._note, with_kwargs=True)]
        for module in modules:
            self.hooks += [module.register_forward_pre_hook(self._cut), module.register_forward_hook(self._fill)]

    def _note(self, layer: torch.nn.Module, args: tuple[torch.Tensor, ...], options: dict[str, Any]) -> None:
        self.rows = args[0].shape[1]
        layout = options.get("layout")
        self.first = layout.prefix if layout is not None else 0

    def _cut(self, module: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (args[0][:, self.first - self.rows :],)

    def _fill(self, module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(output, (0, 0, self.rows - output.shape[1], 0))
