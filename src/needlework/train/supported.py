"""The models for which shared-prefix training is proven exact, and why others are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from needlework.errors import ModelError
from needlework.models.families import FIXED_ROPES, PROVEN, attends_both_ways, rope_types

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

NOT_EXACT = {
    "gemma3": "they read images too; the text-only Gemma 3 models (type gemma3_text: 270M and 1B) are proven",
    "gpt_oss": "their attention sinks are a term of the softmax that shared-prefix attention leaves out",
}
"""Why other types cannot be trained so, where the configuration does not say it."""

STATEFUL_LAYERS = frozenset({"linear_attention", "conv", "hybrid", "hybrid_sliding"})
"""Kinds of layers, by transformers' names, that hand a state from token to token."""


def check(config: PreTrainedConfig) -> None:
    """Refuse a model for which shared-prefix training is not proven exact.

    Args:
        config: The model's whole configuration: a text part may be proven where the model around it is not.

    Raises:
        ModelError: Says why.
    """
    kind, text = config.model_type, config.get_text_config()
    if stateful := sorted(STATEFUL_LAYERS.intersection(getattr(text, "layer_types", None) or ())):
        raise ModelError(
            f"shared-prefix training is not exact for {kind!r} models: their {stateful[0]!r} layers carry a state from "
            f"token to token, through which a branch would see those before it. Choose one of {_proven()}."
        )
    if kind in NOT_EXACT:
        raise ModelError(f"shared-prefix training is not exact for {kind!r} models: {NOT_EXACT[kind]}.")
    if kind not in PROVEN:
        raise ModelError(f"shared-prefix training is not proven exact for {kind!r} models; it is for {_proven()}.")
    if attends_both_ways(text):
        raise ModelError(
            "the model attends in both directions, as embedding models do, so its prefix would depend on the "
            "branches. Choose a model that generates text."
        )
    for name in ("attention_dropout", "resid_pdrop"):
        if dropout := getattr(text, name, 0.0):
            raise ModelError(
                f"{name} is {dropout}: with dropout the answers of one packed row would not equal separate rows. "
                f"Set {name} to 0 in the model's config."
            )
    if others := sorted(rope_types(text) - FIXED_ROPES):
        raise ModelError(
            f"the model's rope type {others[0]!r} is not known to keep its frequencies whatever the length of the row "
            f"(as {', '.join(sorted(FIXED_ROPES))} do), so a packed row may not equal separate rows. Choose a model, "
            f"or a variant of it, without."
        )


def _proven() -> str:
    return ", ".join(sorted(PROVEN))
