"""What is measured inside a model, from the settings: perplexity, drift, loss per answer token, head scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from needlework.benchmark_settings import KV, MEASURES, Drift, Evaluate, Heads, TokenLoss
from needlework.errors import RecipeError
from needlework.evaluation import fitting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from needlework.corpus import Half, Passage
    from needlework.haystack import Haystack
    from needlework.inference.hf import HFBackend
    from needlework.measures import Measure, Measurement
    from needlework.models.chat import Renderer
    from needlework.recipe import Model


def refuse_weights(chosen: Evaluate, who: str) -> None:
    """Refuse what reads a model's weights, where there are none: measures, and the general benchmarks.

    Raises:
        RecipeError: If one is chosen; names it.
    """
    if names := [name for name in (*MEASURES, "general") if getattr(chosen, name)]:
        raise RecipeError(
            f"{names[0]} needs the weights of a model, and {who} only gives answers. "
            f"Leave it out: --set evaluate.{names[0]}=null."
        )


def check_base(chosen: Evaluate, base: str | None) -> None:
    """Refuse drift without a base model.

    Raises:
        RecipeError: If drift is chosen and no base is named.
    """
    if chosen.drift and base is None:
        raise RecipeError("drift needs the model that this one was made from: give --base MODEL.")


def measuring(chosen: Evaluate, seed: int, model: Model, base: str | None) -> Callable[[Any], list[Measure]]:
    """Return a function from the model's backend to its measures."""
    from needlework.models.loading import load_model

    options: Any = {"precision": model.precision, "trust_remote_code": model.trust_remote_code}
    origin = partial(load_model, base, **options) if base is not None and base != model.name else None
    return partial(build_measures, chosen, seed, origin)


def build_measures(
    chosen: Evaluate, seed: int, base: Callable[[], PreTrainedModel] | None, backend: HFBackend
) -> list[Measure]:
    """Build the measures of the model that a backend answers with.

    Args:
        chosen: The settings.
        seed: Chooses texts, prompts and needles.
        base: Loads the model it was made from, for drift; None where it is that model itself.
        backend: The model's backend.

    Raises:
        UserError: If a text does not fit the model's context, or there is too little text.
    """
    from needlework.measures import Measure, heads, perplexity, token_loss

    _check_context(chosen, backend)
    model, renderer = backend.model, backend.renderer
    built = []
    if settings := chosen.perplexity:
        passages, tokenizer = _passages(settings.source, settings.half), renderer.tokenizer
        texts = perplexity.windows(passages, tokenizer, lengths=settings.lengths, texts=settings.texts, seed=seed)
        title = "Loss per token of prose, in nats"
        built.append(Measure("perplexity", title, partial(perplexity.measurements, model, texts), len(texts)))
    if chosen.drift:
        built.append(_drift(chosen.drift, seed, backend, base))
    if chosen.token_loss:
        asked = _needles("token_loss", chosen.token_loss, seed, renderer)
        title = "Loss per answer token of key-value needles, in nats"
        found = partial(token_loss.measurements, model, renderer, asked)
        built.append(Measure("token_loss", title, found, _count(asked)))
    if chosen.heads:
        asked = _needles("heads", chosen.heads, seed, renderer)
        found = partial(heads.measurements, model, renderer, asked)
        built.append(Measure("heads", "Retrieval score of each attention head", found, _count(asked)))
    return built


def _check_context(chosen: Evaluate, backend: HFBackend) -> None:
    context = backend.context
    for name in MEASURES:
        if settings := getattr(chosen, name):
            needed = max(settings.lengths) + getattr(settings, "max_new_tokens", 0)
            if context is not None and needed > context:
                raise RecipeError(
                    f"{name} needs {needed} tokens, but the model's context is {context}. Lower {name}.lengths."
                )


def _drift(settings: Drift, seed: int, backend: HFBackend, base: Callable[[], PreTrainedModel] | None) -> Measure:
    from needlework.inference.hf import HFBackend
    from needlework.measures import Measure, drift

    renderer = backend.renderer
    asked = {
        "chat": drift.questions(_passages(settings.source, settings.half), prompts=settings.prompts, seed=seed),
        "kv": _needles("drift", settings, seed, renderer),
    }

    def measurements() -> Iterator[Measurement]:
        if base is None:
            return drift.unmoved(asked)
        origin = base()
        answering = HFBackend(origin, renderer)
        options = {"max_new_tokens": settings.max_new_tokens}
        return drift.measurements(backend.model, origin, answering, renderer, asked, **options)

    count = sum(map(_count, asked.values()))
    return Measure("drift", "KL to the base model per token, in nats", measurements, count)


def _passages(source: str | None, half: Half) -> tuple[Passage, ...]:
    from needlework.corpus import passages, squad

    return passages(source) if source else squad(half)


def _needles(name: str, settings: TokenLoss | Heads | Drift, seed: int, renderer: Renderer) -> list[Haystack]:
    """Return key-value haystacks of each length, their needles spread evenly from the first item to the last."""
    from needlework.benchmarks import kv
    from needlework.dataset.composer import Composer

    depths = tuple(np.linspace(0, 1, settings.needles).tolist())
    chosen = KV(lengths=settings.lengths, depths=depths, haystacks=settings.haystacks)
    fit = fitting(Composer(renderer), f"evaluate.{name}.lengths")
    return list(kv.build(chosen, seed=seed, fit=fit).haystacks)


def _count(haystacks: Iterable[Haystack]) -> int:
    return sum(len(each.needles) for each in haystacks)
