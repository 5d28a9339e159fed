"""Evaluating a model on an OpenAI-compatible server, self-hosted or at a provider."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework import backends
from needlework.evaluation import asked, build_benchmarks, run_benchmarks
from needlework.evaluation_folder import predictions_file
from needlework.progress import Progress, Silent
from needlework.remote import connect

if TYPE_CHECKING:
    from openai import OpenAI

    from needlework.benchmarks import Benchmark
    from needlework.inference.backend import Ask, Backend
    from needlework.inference.cache import AnswerCache
    from needlework.recipe import Recipe

KEY = "OPENAI_API_KEY"

OWN_SHARE = 0.9
"""A server that reports a smaller share of the tokens counted here, with the model's tokenizer, has cut them off."""


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A server with OpenAI's chat API, and how it is asked."""

    base_url: str
    """Its address, such as http://localhost:8000/v1."""
    concurrency: int = 8
    """Concurrent requests."""
    requests_per_minute: float | None = None
    """Most prompts sent per minute; by default as many as the server takes."""
    timeout: float | None = None
    """Seconds that it may take for an answer; by default `remote.TIMEOUT`."""
    cache: bool = False
    """Reuse answers of earlier runs. Safe only where nobody serves another model under the same name and address."""
    skip_too_long: bool = False
    """Leave prompts out that it refuses as too long, and count them."""


def evaluate(
    model: str,
    server: Server,
    recipe: Recipe,
    folder: Path,
    progress: Progress | None = None,
    *,
    client: OpenAI | None = None,
    confirm: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Ask a served model the benchmarks; write predictions and `summary.json`, which is returned, into a folder.

    Args:
        model: The server's name of the model.
        server: Where it is served.
        recipe: Its benchmarks, seed and system message; the tokenizer of its model counts their lengths.
        folder: The evaluation's folder.
        progress: Where to show progress; by default nowhere.
        client: What asks the server; by default one is made, with the key of `OPENAI_API_KEY` if there is one.
        confirm: Asked with the number of prompts that have no answer yet, and of their tokens, before anything is
            sent; by default nobody is asked.

    Raises:
        UserError: If the server does not answer, or the folder holds another evaluation; says why.
    """
    from needlework.analysis import refuse_weights
    from needlework.preparation import make_renderer

    refuse_weights(recipe.evaluate, "a server")
    progress = progress or Silent()
    asking = client or connect(server.base_url, KEY, keyless=True, timeout=server.timeout)
    tokenizer, system, base_url = recipe.model.name, recipe.model.system, server.base_url.rstrip("/")
    settings: dict[str, Any] = {
        "model": {"name": model, "backend": "openai", "base_url": base_url, "system": system, "tokenizer": tokenizer},
        "benchmarks": asked(recipe.evaluate),
        "seed": recipe.seed,
    }

    answered_by = partial(backends.describe, "openai", "openai")

    def prepare() -> tuple[Backend, list[Benchmark]]:
        from needlework.inference.openai import OpenAIBackend, fewest_tokens

        renderer = make_renderer(recipe.model)
        built = build_benchmarks(recipe.evaluate, recipe.seed, renderer)
        if confirm and (left := [ask for each in built for ask in _unanswered(each, folder)]):
            tokens = sum(len(renderer.prompt_ids(ask.haystack, ask.needle)) for ask in left)
            confirm(
                f"{len(left):,} prompts of about {tokens:,} tokens in all (counted with the tokenizer of {tokenizer}, "
                f"as the benchmarks' lengths are). Send them to {model} at {asking.base_url.host}?"
            )
        concurrency, per_minute = server.concurrency, server.requests_per_minute

        def least(ask: Ask) -> int:
            if tokenizer != model:
                return fewest_tokens(ask)
            return int(OWN_SHARE * len(renderer.encode([ask.haystack.message(ask.needle)])[0]))

        return OpenAIBackend(
            asking, model, system, concurrency=concurrency, requests_per_minute=per_minute, least=least
        ), built

    def kept() -> AnswerCache | None:
        from needlework.inference.cache import AnswerCache, default_folder

        identity = {"model": model, "base_url": base_url, "system": system, **answered_by()}
        return AnswerCache(default_folder(), identity, progress.say) if server.cache else None

    options: dict[str, Any] = {"cache": kept, "skip_too_long": server.skip_too_long}
    return run_benchmarks(model, tokenizer, settings, prepare, folder, progress, answered_by=answered_by, **options)


def _unanswered(benchmark: Benchmark, folder: Path) -> list[Ask]:
    """Return the prompts of a benchmark that its folder holds no answers to."""
    from needlework.inference.answers import unanswered
    from needlework.inference.backend import Ask

    asks = {needle.id: Ask(each, needle) for each in benchmark.haystacks for needle in each.needles}
    left = unanswered(predictions_file(folder, benchmark.name), asks)
    return [ask for id, ask in asks.items() if id in left]
