"""What a backend is, and the fake one for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from needlework.haystack import Haystack, Needle


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt: a needle of a haystack."""

    haystack: Haystack
    needle: Needle


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's output, and the tokens of the prompt it was asked with."""

    output: str
    prompt_tokens: int


class Backend(Protocol):
    """Answers prompts greedily."""

    def batches(self, asks: Sequence[Ask], *, max_new_tokens: int) -> list[list[int]]:
        """Return the indices of the asks in the order and grouping in which to answer them.

        It depends on the asks alone: a run that continues answers the same batches as one that was
        not interrupted.
        """
        ...

    def answer(self, asks: Sequence[Ask], *, max_new_tokens: int, stop: str | None) -> list[Answer]:
        """Answer one batch, in its order."""
        ...


@dataclass(frozen=True, slots=True)
class FakeBackend:
    """A backend without a model: `reply` makes the output from the ask. Needs no network and no GPU."""

    reply: Callable[[Ask], str]
    batch_size: int = 8

    def batches(self, asks: Sequence[Ask], *, max_new_tokens: int) -> list[list[int]]:
        indices = list(range(len(asks)))
        return [indices[at : at + self.batch_size] for at in range(0, len(indices), self.batch_size)]

    def answer(self, asks: Sequence[Ask], *, max_new_tokens: int, stop: str | None) -> list[Answer]:
        return [Answer(self.reply(ask), len(ask.haystack.message(ask.needle).split())) for ask in asks]
