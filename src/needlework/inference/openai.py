"""Answers of a model through OpenAI's chat API: at OpenAI, at other hosts, or on a self-hosted server."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from needlework.inference.backend import Answer, Ask, TooLongError
from needlework.remote import ContextError, MalformedError, Pace, RemoteError, explained, malformed, without_key

if TYPE_CHECKING:
    from openai import OpenAI

LIMITED = 30
"""Attempts of a request that the server's rate limit delays, each after the time that the server names."""
MALFORMED = 3
"""Attempts of a request whose answer is malformed: a proxy may have cut it off, or the address is wrong."""
PAUSE = 1.0
"""Seconds after a malformed answer."""


PART = re.compile(r"[^\W\d_]+('[^\W\d_]+)?|\d+|[^\w\s]+(?![^\W\d_])")
"""What is a token at least: a word, a number, and punctuation that is not the beginning of a word."""


def fewest_tokens(ask: Ask) -> int:
    """Return the fewest tokens that a message has with any tokenizer."""
    # A vowel sign of an Indic script is a mark within its word.
    letters = (each for each in ask.haystack.message(ask.needle) if unicodedata.category(each)[0] != "M")
    return sum(1 for _ in PART.finditer("".join(letters)))


class OpenAIBackend:
    """Answers with a server's model, at temperature 0.

    What is asked is the system message and the haystack's message; the chat template is the server's.

    Args:
        client: The server; it repeats what fails for reasons that pass.
        model: The server's name of the model.
        system: A system message, the one that was trained with.
        concurrency: Concurrent requests.
        requests_per_minute: Most prompts sent per minute; by default as many as the server takes.
        least: Returns the fewest tokens that the prompt of an ask can have; by default words, numbers and signs.

    Raises:
        RemoteError: If a prompt has no answer; none is ever left out.
        TooLongError: If the server refuses a prompt as too long, or cuts it off.
    """

    def __init__(
        self,
        client: OpenAI,
        model: str,
        system: str | None = None,
        *,
        concurrency: int = 8,
        requests_per_minute: float | None = None,
        least: Callable[[Ask], int] = fewest_tokens,
    ) -> None:
        self.client = client
        self.model = model
        self.system = system
        self.concurrency = concurrency
        self.least = least
        self._pace = Pace(requests_per_minute)

    def batches(self, asks: Sequence[Ask], *, max_new_tokens: int) -> list[list[int]]:
        """Return each ask by itself, so that its answer is recorded as it comes."""
        return [[index] for index in range(len(asks))]

    def answer(self, asks: Sequence[Ask], *, max_new_tokens: int, stop: str | None) -> list[Answer]:
        """Answer prompts, one after the other."""
        return [self._answer(ask, max_new_tokens, stop) for ask in asks]

    def _answer(self, ask: Ask, max_new_tokens: int, stop: str | None) -> Answer:
        from openai import omit

        message = ask.haystack.message(ask.needle)
        messages = [{"role": "user", "content": message}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": self.system})
        options = {"temperature": 0, "max_tokens": max_new_tokens, "stop": [stop] if stop else omit}
        try:
            answer = self._ask({"model": self.model, "messages": messages, **options})
        except ContextError as error:
            raise TooLongError({ask.needle.id: f"is too long: {str(error).rstrip('.')}"}) from None
        if answer.prompt_tokens < (least := self.least(ask)):
            # Ollama, for one, does so silently.
            raise TooLongError(
                {
                    ask.needle.id: f"has {least:,} tokens at least, of which {self.client.base_url.host} read "
                    f"{answer.prompt_tokens:,}: it cuts prompts off, so raise the context that it serves"
                }
            )
        if stop:
            return Answer(answer.output.split(stop)[0], answer.prompt_tokens, answer.output_tokens)
        return answer

    def _ask(self, body: dict[str, Any]) -> Answer:
        """Send a request, again where that may help beyond what the client does by itself."""
        limited = damaged = 0
        while True:
            self._pace.wait()
            try:
                with explained(self.client):
                    raw = self.client.chat.completions.with_raw_response.create(**body)
                    return self._parse(raw.http_response.json())
            except MalformedError:
                damaged += 1
                if damaged == MALFORMED:
                    raise
                time.sleep(PAUSE)
            except RemoteError as error:
                limited += 1
                if error.wait is None or limited == LIMITED:
                    raise
                time.sleep(error.wait)

    def _parse(self, answer: Any) -> Answer:
        try:
            output, usage = answer["choices"][0]["message"]["content"], answer["usage"]
            if not isinstance(output, str | None):
                raise TypeError
            written = usage.get("completion_tokens")
            return Answer(
                without_key(output or "", self.client),
                int(usage["prompt_tokens"]),
                None if written is None else int(written),
            )
        except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError):
            raise malformed(self.client, "no text or no count of tokens") from None
