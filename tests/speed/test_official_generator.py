from __future__ import annotations

import hashlib
import random
import re
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from speed.official_generator import draw_sample, generate, gold_places, row, write_jsonl

# Ten samples of 60 dictionaries each, with the template and then without, drawn by the official code from seed 0
# (not by its script, which makes one sample more before the first).
OFFICIAL = {
    True: "5d57b66b3310e9069847094bd1419e1583d9bcbbb983c42b3ad5717c9b7aae00",
    False: "0eb6294bb30f083d8b90c771f858959352c61e07ecbc0d1179ccf58ec1329826",
}


def test_the_bytes_are_those_of_the_official_code(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    rng, numpy_rng = random.Random(0), np.random.RandomState(0)
    for template, digest in OFFICIAL.items():
        samples = [draw_sample(rng, 60) for _ in range(10)]
        places = gold_places(rng, numpy_rng, 10, 60)
        rows = [row(sample, place, tokenizer, template) for sample, place in zip(samples, places, strict=True)]
        write_jsonl(rows, tmp_path / "rows.jsonl")
        assert hashlib.sha256((tmp_path / "rows.jsonl").read_bytes()).hexdigest() == digest


def test_prompts_stay_below_the_limit_by_redrawing(tokenizer: PreTrainedTokenizerFast) -> None:
    lengths = [
        len(tokenizer(each["messages"][0]["content"])["input_ids"])
        for each in generate(20, 0, tokenizer, num_dicts=10, max_tokens=1000)
    ]
    # A limit in the midst of what ten dictionaries have, so that a part of the samples is drawn anew.
    limit = sorted(lengths)[10] + 100
    redrawn = list(generate(20, 0, tokenizer, num_dicts=10, max_tokens=limit))
    assert max(lengths) >= limit - 100
    assert max(len(tokenizer(each["messages"][0]["content"])["input_ids"]) for each in redrawn) < limit - 100


def test_a_limit_that_no_sample_keeps_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="1000 samples of 2 dictionaries did not fit 110 tokens"):
        next(generate(1, 0, tokenizer, num_dicts=2, max_tokens=110))


def test_gold_places_are_uniform_but_for_the_first_and_the_front() -> None:
    places = np.array([gold_places(random.Random(seed), np.random.RandomState(seed), 350, 85) for seed in range(40)])
    assert (places == 0).sum(axis=1).min() >= 17
    assert np.mean(places == 0) == pytest.approx(17 / 350 + 10 / 350 / 17 + 323 / 350 / 85, abs=0.003)
    assert np.mean(places < 17) == pytest.approx(27 / 350 + 323 / 350 * 17 / 85, abs=0.01)


def test_the_answer_is_in_the_dictionary_it_names(tokenizer: PreTrainedTokenizerFast) -> None:
    for each in generate(20, 1, tokenizer, num_dicts=20):
        text, answer = (message["content"] for message in each["messages"])
        key, value, name = re.findall(r"\d+", answer)
        assert f"{key}: {value}" in next(line for line in text.split("\n") if line.startswith(f"Dictionary [{name}] "))
