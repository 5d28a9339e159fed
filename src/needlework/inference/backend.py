"""What a backend is, and the fake one for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from needlework.errors import ModelError
from needlework.haystack import Haystack, Needle


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt: a needle of a haystack."""

    haystack: Haystack
    needle: Needle


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's output, the tokens of the prompt it was asked with, and those of the output where they are counted."""

    output: str
    prompt_tokens: int
    output_tokens: int | None = None


class TooLongError(ModelError):
    """Prompts that exceed the model's context. None is ever truncated.

    Args:
        needles: Why, by the needle's id.
    """

    def __init__(self, needles: Mapping[str, str]) -> None:
        (id, reason), *others = needles.items()
        also = f" {len(others)} more needles are too long, too." if others else ""
        fix = "Use shorter haystacks or another model, or evaluate with --skip-too-long, which leaves them out."
        super().__init__(f"needle {id} {reason}.{also} {fix}")
        self.needles = dict(needles)


def check_lengths(
    asks: Sequence[Ask], prompts: Sequence[Sequence[int]], max_new_tokens: int, context: int | None
) -> None:
    """Check that prompts, as token ids, and their answers fit the model's context.

    Raises:
        TooLongError: Names the needles that do not.
    """
    if context is not None and (
        needles := {
            ask.needle.id: f"needs {len(ids)} + {max_new_tokens} tokens, but the model's context is {context}"
            for ask, ids in zip(asks, prompts, strict=True)
            if len(ids) + max_new_tokens > context
        }
    ):
        raise TooLongError(needles)


class Backend(Protocol):
    """Answers prompts greedily."""

    @property
    def concurrency(self) -> int | None:
        """Batches to answer at once, each in a thread of its own; None where the model is in this process."""
        ...

    def batches(self, asks: Sequence[Ask], *, max_new_tokens: int) -> list[list[int]]:
        """Return the indices of the asks in the order and grouping in which to answer them.

        It depends on the asks alone: a run that continues answers the same batches as one that was
        not interrupted.

        Raises:
            TooLongError: If prompts exceed the model's context; names them all.
        """
        ...

    def answer(self, asks: Sequence[Ask], *, max_new_tokens: int, stop: str | None) -> list[Answer]:
        """Answer one batch, in its order.

        Raises:
            TooLongError: If its prompt exceeds a context that only the model's server knows.
        """
        ...


@dataclass(frozen=True, slots=True)
class FakeBackend:
    """A backend without a model, for tests: `reply` returns the output. Needs no network and no GPU."""

    reply: Callable[[Ask], str]
    batch_size: int = 8
    concurrency: int | None = None

    def batches(self, asks: Sequence[Ask], *, max_new_tokens: int) -> list[list[int]]:
        indices = list(range(len(asks)))
        return [indices[at : at + self.batch_size] for at in range(0, len(indices), self.batch_size)]

    def answer(self, asks: Sequence[Ask], *, max_new_tokens: int, stop: str | None) -> list[Answer]:
        return [Answer(self.reply(ask), len(ask.haystack.message(ask.needle).split())) for ask in asks]
