from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from speed.growing_generator import generate


def test_the_prompt_is_full_and_was_not_one_dictionary_before(tokenizer: PreTrainedTokenizerFast) -> None:
    for row in generate(5, 0, tokenizer, min_tokens=900, max_tokens=2000, num_dicts=5):
        text = row["messages"][0]["content"]
        before, _, after = text.rpartition("\nDictionary")
        shorter = before + after[after.index("\n") :]
        tokens = [len(tokenizer(each)["input_ids"]) for each in (text, shorter)]
        assert tokens[0] >= 900 > tokens[1]


def test_each_added_dictionary_tokenizes_the_whole_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    class Counting:
        calls = 0

        def __call__(self, text: str) -> object:
            self.calls += 1
            return tokenizer(text)

    counting = Counting()
    row = next(generate(1, 0, counting, min_tokens=900, max_tokens=2000, num_dicts=5))  # type: ignore[arg-type]
    added = row["messages"][0]["content"].count("\nDictionary [") - 5
    # Once before any is added, and once when the row is written.
    assert counting.calls == added + 2 > 10


def test_the_gold_dictionary_stays_among_those_it_starts_from(tokenizer: PreTrainedTokenizerFast) -> None:
    for row in generate(10, 0, tokenizer, min_tokens=900, max_tokens=2000, num_dicts=5):
        assert int(row["messages"][1]["content"].split("[")[1].rstrip("].")) <= 5
