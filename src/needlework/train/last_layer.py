"""The last layer computes the prefix's keys and values only.

Branches see no more of its prefix rows than that, so what follows the attention there, the output projection and the
MLP, is computed for branch rows alone. Their places in the row stay, filled with zeros that nobody reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def skip_last_prefix(model: PreTrainedModel) -> None:
    """Make the modules after the last layer's attention leave out the prefix rows, whose number the layout gives."""
    last = model.config.get_text_config().num_hidden_layers - 1
    for module in model.modules():
        if getattr(getattr(module, "self_attn", None), "layer_idx", None) == last:
            layer = cast(Any, module)
            _BranchRowsOnly(layer, [layer.self_attn.o_proj, layer.mlp])


class _BranchRowsOnly:
    """Hooks that cut the prefix rows off what goes into modules of a layer, and put zeros in their place afterwards.

    Without a layout, as in ordinary use of the model after training, they change nothing; nor do they twice.
    """

    def __init__(self, layer: torch.nn.Module, modules: list[torch.nn.Module]) -> None:
        self.first = self.rows = 0
        layer.register_forward_pre_hook(self._note, with_kwargs=True)
        for module in modules:
            module.register_forward_pre_hook(self._cut)
            module.register_forward_hook(self._fill)

    def _note(self, layer: torch.nn.Module, args: tuple[torch.Tensor, ...], options: dict[str, Any]) -> None:
        self.rows = args[0].shape[1]
        layout = options.get("layout")
        self.first = layout.prefix if layout is not None else 0

    def _cut(self, module: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (args[0][:, self.first - self.rows :],)

    def _fill(self, module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(output, (0, 0, self.rows - output.shape[1], 0))
