"""What `--dry-run` prints: the resolved recipe and, as comments after it, what its finetuning takes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from needlework.errors import HubError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from needlework.benchmarks import Benchmark
    from needlework.models.chat import PackedRow, Renderer
    from needlework.models.loading import Precision
    from needlework.recipe import Recipe

SAMPLED = 16
"""Haystacks whose tokens are counted."""


def print_plan(recipe: Recipe, tflops: float | None = None) -> None:
    """Print the recipe and what its finetuning takes, as far as that can be known here.

    Args:
        recipe: The recipe.
        tflops: The rate to assume, in 10^12 operations a second; by default that of this machine, measured.

    Raises:
        UserError: If the model or the data cannot be trained on; says why.
    """
    from needlework import own_data, preparation
    from needlework import recipe as recipes
    from needlework.evaluation import build_benchmarks
    from needlework.models.loading import load_config
    from needlework.progress import Silent
    from needlework.train import estimate

    count, answers = own_data.count(recipe)
    model, train = recipe.model, recipe.train
    print(recipes.dump(recipe), end="")
    _comment(f"{answers * train.epochs} answers in {train.steps(count)} steps of {train.batch_size} haystacks")
    try:
        config = load_config(model.name, trust_remote_code=model.trust_remote_code)
        renderer = preparation.make_renderer(model)
    except HubError as error:
        _comment(_measured(recipe, {}))
        _comment(f"Parameters, tokens, memory and time are left out, because they need the model: {error}")
        return
    preparation.check_training(recipe, renderer, Silent())
    # Built, and not just listed, so that a mistake in their settings is found here.
    built = build_benchmarks(recipe.evaluate, recipe.seed, renderer)
    _comment(_measured(recipe, {each.name: _asked(each, renderer) for each in built}))
    data, _ = preparation.training_data(recipe, renderer)
    largest = renderer.pack(data.largest())
    rows = [renderer.pack(data[index]) for index in _spread(count)]
    shaped = estimate.shapes(config, train.trainable, lora_rank=train.lora_rank)
    total, trained = estimate.parameters(shaped)
    _comment(f"{total:,} parameters, of which {trained:,} are trained ({train.trainable})")
    _comment(_tokens(rows, count, train.epochs))
    precision = _precision(recipe, tflops)
    _comment(_memory(recipe, shaped, max(largest, *rows, key=estimate.tokens), precision))
    _comment(_time(recipe, shaped, rows, count, precision, tflops))
    if recipe.trainings > 1:
        seeds = f"seeds {recipe.seed} to {recipe.seeds[-1]}"
        _comment(f"`run` trains {recipe.trainings} times, with {seeds}: each training takes that time")


def _measured(recipe: Recipe, sizes: Mapping[str, str]) -> str:
    """Say what is measured besides, and how large it is where that is known."""
    others = (name for name, section in dict(recipe.evaluate).items() if section and name not in sizes)
    listed = ", ".join([*(f"{name} ({size})" for name, size in sizes.items()), *others])
    shared = ". Beginnings that prompts share are computed once" if sizes else ""
    return f"`run` also measures {listed}, before and after; the time of that is not estimated{shared}"


def _asked(benchmark: Benchmark, renderer: Renderer) -> str:
    """Return how many questions a benchmark asks, and in how many tokens of prompts, by those of some."""
    asks = [(haystack, needle) for haystack in benchmark.haystacks for needle in haystack.needles]
    some = _spread(len(asks))
    tokens = sum(len(renderer.prompt_ids(*asks[index])) for index in some) / len(some) * len(asks)
    return f"{len(asks):,} questions, {tokens / 1e6:,.2f} million tokens of prompts"


def _comment(text: str) -> None:
    wrap = textwrap.TextWrapper(100, initial_indent="# ", subsequent_indent="#   ")
    # Names of models and folders stay whole.
    wrap.break_long_words = wrap.break_on_hyphens = False
    print(wrap.fill(text))


def _spread(count: int) -> list[int]:
    """Return up to `SAMPLED` evenly spaced indices of `count` haystacks."""
    return sorted({place * count // SAMPLED for place in range(SAMPLED)})


def _precision(recipe: Recipe, tflops: float | None) -> Precision:
    from needlework.models.loading import fastest_precision

    if recipe.model.precision != "auto":
        return recipe.model.precision
    # A rate is given for a GPU, where auto is bf16.
    return "bf16" if tflops else fastest_precision()


def _tokens(rows: Sequence[PackedRow], count: int, epochs: int) -> str:
    shared = sum(len(row.prefix) for row in rows) / len(rows)
    own = sum(len(branch) for row in rows for branch in row.branches) / len(rows)
    return (
        f"{count * epochs * (shared + own):,.0f} tokens in {count * epochs:,} packed rows of {shared:,.0f} that are "
        f"shared and {own:,.0f} of questions and answers (counted in {len(rows)} of {count:,} haystacks)"
    )


def _memory(recipe: Recipe, model: PreTrainedModel, largest: PackedRow, precision: Precision) -> str:
    from needlework.train import estimate

    parts = estimate.memory(model, largest, precision, checkpointing=recipe.train.gradient_checkpointing)
    listed = " + ".join(f"{name} {size / 2**30:.2f}" for name, size in parts.items())
    return (
        f"Memory, estimated for one process in {precision}: {sum(parts.values()) / 2**30:.1f} GiB = {listed}, for a "
        f"row of {estimate.tokens(largest):,} tokens"
    )


def _time(
    recipe: Recipe,
    model: PreTrainedModel,
    rows: Sequence[PackedRow],
    count: int,
    precision: Precision,
    tflops: float | None,
) -> str:
    from needlework.train import estimate

    train = recipe.train
    each = [estimate.operations(model, row, checkpointing=train.gradient_checkpointing) for row in rows]
    operations = count * train.epochs * sum(each) / len(each)
    rate = tflops * 1e12 if tflops else estimate.rate(precision)
    basis = "as given" if tflops else f"measured here on matrix products in {precision}"
    return (
        f"Time, estimated for one process: {_duration(operations / rate)} of finetuning, for {operations / 1e12:,.0f} "
        f"TFLOP of matrix products and attention at {rate / 1e12:,.3g} TFLOP/s, {basis}"
    )


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} seconds"
