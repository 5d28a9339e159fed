"""Exact token budgets: how many items of a haystack fit, counted as the model will see them."""

from __future__ import annotations

from collections.abc import Callable

from needlework.errors import BudgetError
from needlework.haystack import Haystack
from needlework.models.chat import Renderer


def fit(
    make: Callable[[int], Haystack], *, max_tokens: int, min_items: int, renderer: Renderer, guess: int = 8
) -> Haystack:
    """Return the largest haystack whose rendered prompt and longest answer fit `max_tokens`.

    The items of a small haystack are tokenized once for their mean length, which says how many should
    fit; exact counts of the rendered haystacks around that number decide. So the budget is filled to
    within one item: one more item, and the haystack no longer fits.

    Args:
        make: Makes the haystack of a given number of items; one item more must add tokens.
        max_tokens: Upper bound of prompt and answer, counted with the chat template.
        min_items: The fewest items the task can have.
        renderer: The model's own tokenizer and template.
        guess: Where to begin the search; the result does not depend on it.

    Raises:
        BudgetError: If not even the smallest haystack fits; names the smallest budget that would do.
    """
    num_items = max(guess, min_items)
    haystack = make(num_items)
    tokens = renderer.count(haystack)
    best: Haystack | None = None
    too_many = None
    while best is None or too_many != len(best.items) + 1:
        if tokens <= max_tokens:
            best = haystack
        else:
            too_many = num_items
            if num_items == min_items:
                break
        num_items = _next(num_items, max_tokens - tokens, haystack, renderer, best, too_many, min_items)
        haystack = make(num_items)
        tokens = renderer.count(haystack)
    if best is None:
        raise BudgetError(
            f"max_tokens={max_tokens}, but the smallest {haystack.task} haystack "
            f"({min_items} items, {len(haystack.needles)} needles) needs {tokens} with this tokenizer and "
            f"chat template. Raise max_tokens to at least {tokens}."
        )
    return best


def _next(
    num_items: int,
    spare: int,
    haystack: Haystack,
    renderer: Renderer,
    best: Haystack | None,
    too_many: int | None,
    min_items: int,
) -> int:
    """Step by as many mean items as are spare or over, staying inside what is known to fit and not to."""
    mean = sum(map(len, renderer.encode([item + "\n" for item in haystack.items]))) / len(haystack.items)
    step = int(spare / mean) if spare >= 0 else -max(1, round(-spare / mean))
    low = min_items if best is None else len(best.items) + 1
    high = num_items + max(1, step) if too_many is None else too_many - 1
    return min(max(num_items + step, low), high)
