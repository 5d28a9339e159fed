"""Answers of a model behind OpenAI's chat API: at OpenAI, at other hosts, or on a server of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from needlework.inference.backend import Answer, Ask
from needlework.remote import explained, malformed

if TYPE_CHECKING:
    from openai import OpenAI

BATCH = 32
"""Answers that are recorded together."""


class OpenAIBackend:
    """Answers with a server's model, at temperature 0.

    What is asked is the system message and the haystack's message; the chat template is the server's.

    Args:
        client: The server; it repeats what fails for reasons that pass.
        model: The server's name of the model.
        system: A system message, the one that was trained with.
        concurrency: Requests under way at once.

    Raises:
        RemoteError: If a prompt has no answer; none is ever left out.
    """

    def __init__(self, client: OpenAI, model: str, system: str | None = None, *, concurrency: int = 8) -> None:
        self.client = client
        self.model = model
        self.system = system
        self.concurrency = concurrency

    def batches(self, asks: Sequence[Ask], *, max_new_tokens: int) -> list[list[int]]:
        """Group the asks in their order."""
        return [list(range(start, min(start + BATCH, len(asks)))) for start in range(0, len(asks), BATCH)]

    def answer(self, asks: Sequence[Ask], *, max_new_tokens: int, stop: str | None) -> list[Answer]:
        """Answer one batch, several prompts at once."""
        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(lambda ask: self._answer(ask, max_new_tokens, stop), asks))

    def _answer(self, ask: Ask, max_new_tokens: int, stop: str | None) -> Answer:
        from openai import omit

        messages: list[Any] = [{"role": "user", "content": ask.haystack.message(ask.needle)}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": self.system})
        with explained(self.client):
            raw = self.client.chat.completions.with_raw_response.create(
                model=self.model,
                messages=messages,
                temperature=0,
                max_tokens=max_new_tokens,
                stop=[stop] if stop else omit,
            )
            answer = raw.http_response.json()
        try:
            output = answer["choices"][0]["message"]["content"] or ""
            return Answer(output.split(stop)[0] if stop else output, int(answer["usage"]["prompt_tokens"]))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise malformed(self.client, "no text or no count of tokens") from None
