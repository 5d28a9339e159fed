"""What a hosted finetuning will cost: tokens, epochs and the price of a million."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from needlework.models.chat import Renderer

Encode = Callable[[str], list[int]]

# OpenAI's cookbook counts three markers for each message and three for the answer's beginning.
PER_MESSAGE = 3
PER_EXAMPLE = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """The size of training data, and what it costs to train on them."""

    examples: int
    tokens: int
    """The tokens of all examples, each counted once."""
    longest: int
    """Tokens of the longest example."""
    counted_with: str
    epochs: int
    price: float
    """Dollars for a million tokens."""

    @property
    def cost(self) -> float:
        """Dollars."""
        return self.tokens * self.epochs * self.price / 1e6

    def __str__(self) -> str:
        return (
            f"About ${self.cost:,.2f}: {self.tokens:,} tokens in {self.examples:,} examples "
            f"(counted with {self.counted_with}) x {self.epochs} epochs x ${self.price:,.2f} per million."
        )


def estimate(data: Path, encode: Encode, counted_with: str, epochs: int, price: float) -> Estimate:
    """Count the tokens of a file of chats, as OpenAI's cookbook does.

    Args:
        data: Lines of `{"messages": [...]}`.
        encode: From a text to its tokens.
        counted_with: What that is, for the user.
        epochs: Passes over the data.
        price: Dollars for a million tokens of training.
    """
    lengths = []
    with data.open(encoding="utf-8") as lines:
        for line in lines:
            messages = json.loads(line)["messages"]
            texts = [text for message in messages for text in (message["role"], message["content"])]
            lengths.append(PER_EXAMPLE + PER_MESSAGE * len(messages) + sum(len(encode(text)) for text in texts))
    return Estimate(len(lengths), sum(lengths), max(lengths), counted_with, epochs, price)


def counter(model: str, renderer: Renderer, name: str) -> tuple[Encode, str]:
    """Return what counts a hosted model's tokens, and its name.

    That is tiktoken, if it is installed, knows the model and has or can download its vocabulary; otherwise the
    tokenizer that the recipe counts with. The rule of thumb, four characters for a token, would find half of the
    tokens that our numbers take.

    Args:
        model: The host's name of the model.
        renderer: The recipe's tokenizer.
        name: The name of that tokenizer's model.
    """
    try:
        import tiktoken

        encoding = tiktoken.encoding_for_model(model)
    except (ImportError, KeyError, OSError, ValueError):
        # A ValueError where something else than the vocabulary was downloaded, such as a network's login page.
        return lambda text: renderer.encode([text])[0], f"the tokenizer of {name}"
    return lambda text: encoding.encode(text, disallowed_special=()), f"tiktoken's {encoding.name}"
