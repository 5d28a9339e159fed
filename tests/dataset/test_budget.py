from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from needlework.dataset.budget import Budget, PlainCounter
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import BudgetError, UserError
from needlework.haystack import Haystack
from needlework.models.chat import Renderer
from needlework.tasks import make_task
from needlework.tasks.draft import Draft
from tests.conftest import CHAT_ML, INST, make_tokenizer


def drawer(seed: int, num_needles: int = 3) -> Callable[[int], Draft]:
    task = make_task("simple_dict")
    return lambda capacity: task.draft(np.random.default_rng(seed), capacity, num_needles)


def fitted(renderer: Renderer, seed: int, max_tokens: int) -> Haystack:
    draft, num_items = Budget(max_tokens, PlainCounter(renderer)).fit(drawer(seed), min_items=1, num_needles=3)
    return draft.haystack(num_items, "")


def full_text_tokens(renderer: Renderer, haystack: Haystack) -> int:
    """Count without any of the budget's own code: the whole rendered chat, tokenized."""
    tokenizer, counts = renderer.tokenizer, []
    for needle in haystack.needles:
        text = renderer.prompt(haystack, needle) + needle.answer + tokenizer.eos_token
        counts.append(len(tokenizer.encode(text, add_special_tokens=False)))
    return max(counts)


@pytest.mark.parametrize("template", [CHAT_ML, INST])
@pytest.mark.parametrize("digits", ["single", "threes", "merged"])
@pytest.mark.parametrize("max_tokens", [300, 640, 1500])
def test_the_budget_is_kept_and_filled_to_within_one_item(digits: str, template: str, max_tokens: int) -> None:
    renderer = Renderer(make_tokenizer(digits, template))
    for seed in range(8):
        haystack = fitted(renderer, seed, max_tokens)
        tokens = full_text_tokens(renderer, haystack)
        more = len(haystack.items) + 1
        larger = drawer(seed)(more).haystack(more, "")
        longest = max(len(ids) for ids in renderer.encode([item + "\n" for item in larger.items]))
        assert max_tokens - longest <= tokens <= max_tokens
        assert full_text_tokens(renderer, larger) > max_tokens


def test_the_result_does_not_depend_on_what_was_fitted_before(renderer: Renderer) -> None:
    budget = Budget(900, PlainCounter(renderer))
    for seed in (3, 4, 5):
        draft, num_items = budget.fit(drawer(seed), min_items=1, num_needles=3)
    assert draft.haystack(num_items, "") == fitted(renderer, 5, 900)


def test_an_impossible_budget_names_the_smallest_possible_one(renderer: Renderer) -> None:
    with pytest.raises(BudgetError) as error:
        fitted(renderer, 0, 60)
    smallest = int(str(error.value).rstrip(".").split()[-1])
    assert "max_tokens=60" in str(error.value)
    assert len(fitted(renderer, 0, smallest).items) == 1
    with pytest.raises(BudgetError, match=f"needs {smallest} with this tokenizer"):
        fitted(renderer, 0, smallest - 1)


def test_the_embedded_models_own_tokenizer_counts_exactly() -> None:
    from needlework.models.loading import load_tokenizer

    renderer = Renderer(load_tokenizer("smollm2-135m"))
    for seed in range(3):
        haystack = fitted(renderer, seed, 1024)
        tokens = full_text_tokens(renderer, haystack)
        longest = max(len(ids) for ids in renderer.encode([item + "\n" for item in haystack.items]))
        assert 1024 - longest <= tokens <= 1024


def test_a_text_that_ends_is_refused_only_where_the_budget_takes_more(renderer: Renderer, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text(" ".join(f"Wave {number} came in." for number in range(100, 124)))
    task = make_task("niah", {"source": str(tmp_path)})

    def fill(max_tokens: int) -> int:
        draw = lambda capacity: task.draft(np.random.default_rng(0), capacity)  # noqa: E731
        return Budget(max_tokens, PlainCounter(renderer)).fit(draw, min_items=1, num_needles=1)[1]

    assert 1 < fill(300) < 25
    with pytest.raises(UserError, match="has 24 sentences, with 1 needles too few for a haystack of 26 items"):
        fill(3000)


@pytest.mark.parametrize("name", ["mdqa", "multidocqa", "in2"])
def test_passages_fill_it_by_one_that_just_fits(name: str) -> None:
    from needlework.models.loading import load_tokenizer

    renderer, task = Renderer(load_tokenizer("smollm2-135m")), make_task(name)
    budget, few, fills = Budget(4096, PlainCounter(renderer)), task.min_items(2), []
    for seed in range(8):
        draw = lambda capacity: task.draft(np.random.default_rng(seed), capacity, 2)  # noqa: B023, E731
        draft, num_items = budget.fit(draw, min_items=few, num_needles=2)
        haystack = draft.haystack(num_items, "")
        assert len(set(draft.contents[:num_items])) == num_items
        assert haystack.needles == draw(num_items).haystack(num_items, "").needles
        fills.append(full_text_tokens(renderer, haystack))
        # With another first guess the same is found.
        again, size = Budget(4096, PlainCounter(renderer)).fit(draw, min_items=few, num_needles=2)
        assert again.haystack(size, "") == haystack
    assert max(fills) <= 4096
    assert np.mean(fills) > 0.99 * 4096


@pytest.mark.parametrize("seed", [75, 330, 421, 498])
def test_the_last_passage_does_not_depend_on_the_first_guess(seed: int) -> None:
    """These are haystacks of about ten passages, whose numbers get a digit more, and so a token."""
    from needlework.models.loading import load_tokenizer

    renderer = Renderer(load_tokenizer("smollm2-135m"))
    data = SyntheticDataset(make_task("mdqa"), 500, 6, 2600, renderer)
    found = set()
    for capacity in (46, 49, 53):
        data.budget.capacity = capacity
        found.add(data[seed].items)
    assert len(found) == 1


def test_gold_passages_are_not_exchanged(renderer: Renderer) -> None:
    task = make_task("mdqa")
    draw = lambda capacity: task.draft(np.random.default_rng(0), capacity, 3)  # noqa: E731
    tokens = renderer.count(draw(3).haystack(3, ""))
    draft, num_items = Budget(tokens, PlainCounter(renderer)).fit(draw, min_items=3, num_needles=3)
    assert draft.haystack(num_items, "") == draw(3).haystack(3, "")
