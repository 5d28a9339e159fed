from __future__ import annotations

import pytest

from needlework.asking import build
from needlework.errors import BudgetError
from needlework.models.chat import Renderer
from needlework.recipe import KV, Evaluate, Knowledge


def test_only_what_the_recipe_asks_for_is_built(renderer: Renderer) -> None:
    chosen = Evaluate(kv=KV(lengths=(600,), haystacks=2), knowledge=Knowledge(facts=3))
    kv, knowledge = build(chosen, 0, renderer)
    assert (kv.name, len(kv.haystacks)) == ("kv", 2)
    assert (knowledge.name, len(knowledge.haystacks)) == ("knowledge", 3)


def test_lengths_are_counted_with_the_models_tokenizer(renderer: Renderer) -> None:
    (kv,) = build(Evaluate(kv=KV(lengths=(600,), haystacks=1)), 0, renderer)
    assert 500 < renderer.count(kv.haystacks[0]) <= 600
    with pytest.raises(BudgetError, match="max_tokens=40"):
        build(Evaluate(kv=KV(lengths=(40,), haystacks=1)), 0, renderer)
