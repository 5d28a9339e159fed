from __future__ import annotations

import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from needlework.analysis import build_measures, check_base, refuse_weights
from needlework.benchmark_settings import KV, Drift, Evaluate, Heads, Perplexity, TokenLoss
from needlework.errors import BudgetError, RecipeError
from needlework.inference.hf import HFBackend
from needlework.measures import Measure
from needlework.models.chat import Renderer
from tests.conftest import make_model

CHOSEN = Evaluate(
    perplexity=Perplexity(lengths=(64,), texts=2),
    drift=Drift(prompts=2, lengths=(500,), haystacks=2, needles=2, max_new_tokens=4),
    token_loss=TokenLoss(lengths=(500,), haystacks=2, needles=2),
    heads=Heads(lengths=(500,), haystacks=2, needles=2),
)


def built(model: LlamaForCausalLM, renderer: Renderer, base: LlamaForCausalLM | None = None) -> dict[str, Measure]:
    origin = (lambda: base) if base else None
    return {each.name: each for each in build_measures(CHOSEN, 0, origin, HFBackend(model, renderer))}


def test_the_chosen_measures_are_made(
    model: LlamaForCausalLM, renderer: Renderer, tokenizer: PreTrainedTokenizerFast
) -> None:
    found = built(model, renderer, make_model(len(tokenizer), 1).eval())
    made = {name: list(each.measurements()) for name, each in found.items()}
    assert {name: len(each) for name, each in made.items()} == {name: each.count for name, each in found.items()}
    assert {name: sorted({value for row in each for value in row.values}) for name, each in made.items()} == {
        "perplexity": ["64 tokens"],
        "drift": ["chat", "kv"],
        "token_loss": ["answer", "dictionary", "end", "key", "template", "value"],
        "heads": [f"L{layer}.H{head}" for layer in range(2) for head in range(4)],
    }
    assert all(value > 0 for row in made["drift"] for value in row.values.values())


def test_the_base_model_itself_has_not_drifted(model: LlamaForCausalLM, renderer: Renderer) -> None:
    found = list(built(model, renderer)["drift"].measurements())
    assert len(found) == 6
    assert {value for row in found for value in row.values.values()} == {0.0}


def test_texts_longer_than_the_context_are_refused_before_anything_is_measured(
    model: LlamaForCausalLM, renderer: Renderer
) -> None:
    chosen = Evaluate(drift=Drift(lengths=(4000,), max_new_tokens=100))
    with pytest.raises(RecipeError, match="drift needs 4100 tokens, but the model's context is 4096"):
        build_measures(chosen, 0, None, HFBackend(model, renderer))


@pytest.mark.parametrize("chosen", [TokenLoss(lengths=(60,)), Heads(lengths=(60,))])
def test_a_length_that_is_too_small_is_named_with_its_measure(
    model: LlamaForCausalLM, renderer: Renderer, chosen: TokenLoss | Heads
) -> None:
    name = "token_loss" if isinstance(chosen, TokenLoss) else "heads"
    with pytest.raises(BudgetError, match=rf"Raise evaluate\.{name}\.lengths"):
        build_measures(Evaluate.model_validate({name: chosen}), 0, None, HFBackend(model, renderer))


def test_drift_needs_a_base() -> None:
    with pytest.raises(RecipeError, match="give --base MODEL"):
        check_base(CHOSEN, None)
    check_base(CHOSEN, "smollm2-135m")
    check_base(Evaluate(kv=KV()), None)


def test_measures_of_a_model_that_only_answers_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"token_loss needs the weights of a model.*evaluate\.token_loss=null"):
        refuse_weights(Evaluate(kv=KV(), token_loss=TokenLoss()), "a hosted model")
    refuse_weights(Evaluate(kv=KV()), "a hosted model")
