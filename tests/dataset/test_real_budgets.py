"""Budgets counted by the libraries that real tokenizers come from, which know nothing of ours."""

from __future__ import annotations

import pytest

from needlework import preparation, recipe
from needlework.dataset.synthetic import SyntheticDataset
from needlework.models.chat import Renderer
from needlework.tasks import make_task
from tests.real_tokenizers import NAMES, real_tokenizer

# No dictionary of the task has more tokens, whether its digits are split or grouped.
LONGEST = "\nDictionary [100] {9999: 9999, 9999: 9999, 9999: 9999, 9999: 9999}"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("max_tokens", [512, 4096])
@pytest.mark.parametrize("num_needles", [1, 8])
def test_the_original_library_counts_a_full_budget(name: str, max_tokens: int, num_needles: int) -> None:
    real = real_tokenizer(name)
    renderer = Renderer(real.fast)
    task = make_task("simple_dict")
    data = SyntheticDataset(task, size=3, num_needles=num_needles, max_tokens=max_tokens, renderer=renderer)
    for index, haystack in enumerate(data):
        chats = [real.chat(haystack.message(needle), needle.answer) for needle in haystack.needles]
        texts = [renderer.prompt(haystack, each) + renderer.completion(haystack, each) for each in haystack.needles]
        assert real.fast(texts, add_special_tokens=False)["input_ids"] == chats
        assert [row.input_ids.tolist() for row in data.encoded(index)] == chats
        tokens = max(map(len, chats))
        assert max_tokens - len(real.encode(LONGEST)) < tokens <= max_tokens
        assert renderer.count(haystack) == tokens


def test_how_many_dictionaries_fit_depends_on_the_tokenizer() -> None:
    items = {}
    for name in NAMES:
        renderer = Renderer(real_tokenizer(name).fast)
        task = make_task("simple_dict")
        data = SyntheticDataset(task, size=1, num_needles=1, max_tokens=4096, renderer=renderer)
        items[name] = len(data[0].items)
    # "85 dictionaries are 4K tokens" holds where each digit is a token, as for the paper's Mistral.
    assert all(75 <= items[name] <= 95 for name in ("smollm2", "mistral-v1", "mistral-v3", "tekken"))
    assert all(items[name] > 110 for name in ("cl100k", "o200k"))


@pytest.mark.parametrize(
    ("name", "tokens", "haystacks"), [("mistral-7b-v0.1", 3_900, 350), ("mistral-7b-v0.2-24k", 24_200, 40)]
)
def test_the_papers_haystacks_fit_by_mistrals_own_tokenizer(name: str, tokens: int, haystacks: int) -> None:
    chosen = recipe.load(name, [f"data.haystacks={haystacks}"])
    data = preparation.dataset(chosen, Renderer(real_tokenizer("mistral-v1").fast))
    lengths = [len(row.input_ids) for rows in data.encoded_many(range(haystacks)) for row in rows]
    assert sum(lengths) / haystacks == pytest.approx(tokens, rel=0.01)
    assert max(lengths) < chosen.data.max_tokens - 100
