"""A peer: the generator of simple-dictionary prompts that the paper's authors published, re-implemented.

Their code (github.com/edixiong/artificial-needles, data-generation/scripts) comes without a licence, so nothing of it
is copied. Followed is what it does, draw by draw, so that a seed gives the same samples. Its work is kept where it
costs time: each number is two calls of Python's `random`, sizes that cannot vary are drawn too, all samples are held
in memory, the dictionaries are copied deeply for each look at them, and each prompt is tokenized as a whole, once to
see whether the sample fits and once more when it is written. Left out, in its favour, are the loading of the
tokenizer for each sample anew, a pickle of all samples, and the evaluation set, whose draws come before those of
the front places.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

Dictionary = dict[tuple[int, ...], int]

DIGITS = (3, 4)
DICT_SIZES = (3, 4)
GOLD_DICT_SIZE = 3
FIRST_FRACTION = 0.05
FRONT_FRACTION = 0.03
ROOM = 100
"""Tokens that a prompt stays below the limit."""
ATTEMPTS = 1000

TASK = "Do a task using the list of dictionaries below."
QUESTION = (
    "Above is a list of dictionaries such that each key and value is an integer. "
    "Report the value of key {key} and the dictionary it is in."
)
TEMPLATE = (
    " Answer in the following template:\nThe value of key {key} is <fill-in-value> and it is in "
    "Dictionary [<fill-in-dictionary-name>]."
)
ANSWER = "The value of key {key} is {value} and it is in Dictionary [{name}]."


@dataclass
class Sample:
    """A prompt whose gold dictionary has no place yet."""

    key: tuple[int, ...]
    value: int
    gold: Dictionary
    others: list[Dictionary]


def generate(
    count: int,
    seed: int,
    tokenizer: PreTrainedTokenizerBase,
    *,
    num_dicts: int = 85,
    max_tokens: int = 4096,
    template: bool = True,
) -> Iterator[dict[str, Any]]:
    """Yield the training set of the official script as rows of chat messages.

    Args:
        count: Rows.
        seed: As the script's `--seed`.
        tokenizer: Loaded once; the script counts with that of Llama 2.
        num_dicts: Dictionaries in each prompt.
        max_tokens: A prompt has fewer tokens than this by more than 100.
        template: Ask for an answer in the template.

    Raises:
        ValueError: If a thousand samples in a row did not fit.
    """
    rng = random.Random(seed)
    # The script first makes one sample to show.
    samples = [_fitting(rng, tokenizer, num_dicts, max_tokens, template) for _ in range(1 + count)][1:]
    numpy_rng = np.random.RandomState(seed)
    for sample, place in zip(samples, gold_places(rng, numpy_rng, count, num_dicts), strict=True):
        yield row(sample, place, tokenizer, template)


def write_jsonl(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows as the official script does."""
    with path.open("w") as file:
        for row in rows:
            json.dump(row, file)
            file.write("\n")


def row(sample: Sample, place: int, tokenizer: PreTrainedTokenizerBase, template: bool = True) -> dict[str, Any]:
    """Return the chat messages of a sample with its gold dictionary at a place."""
    text = prompt(arranged(sample, place), sample.key, template)
    count_tokens(tokenizer, text)  # The script refuses a prompt that outgrew its limit, which none does.
    arranged(sample, place)  # It also copies everything once more for the answer.
    answer = ANSWER.format(key=spelled(sample.key), value=sample.value, name=place + 1)
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]}


def _fitting(
    rng: random.Random, tokenizer: PreTrainedTokenizerBase, num_dicts: int, max_tokens: int, template: bool
) -> Sample:
    for _ in range(ATTEMPTS):
        sample = draw_sample(rng, num_dicts)
        text = prompt(arranged(sample, 0), sample.key, template)
        if count_tokens(tokenizer, text) < max_tokens - ROOM:
            return sample
    raise ValueError(f"{ATTEMPTS} samples of {num_dicts} dictionaries did not fit {max_tokens} tokens")


def draw_sample(rng: random.Random, num_dicts: int) -> Sample:
    """Draw a gold pair, its dictionary, and all others."""
    place = rng.randint(0, GOLD_DICT_SIZE - 1)
    rng.random()  # Whether the key holds the common subkeys, of which the simple task has none,
    rng.randint(0, 0)  # and where in the key of one subkey that subkey goes.
    key, value = (draw_number(rng),), draw_number(rng)
    pairs = ((key, value) if index == place else draw_pair(rng, key, value) for index in range(GOLD_DICT_SIZE))
    gold = dict(pairs)
    others = [draw_dictionary(rng, key, value) for _ in range(num_dicts - 1)]
    return Sample(key, value, gold, copy.deepcopy(others))


def draw_dictionary(rng: random.Random, key: tuple[int, ...], value: int) -> Dictionary:
    """Draw a dictionary without the gold pair's key and value; a key drawn twice makes it smaller."""
    return dict(draw_pair(rng, key, value) for _ in range(rng.randint(*DICT_SIZES)))


def draw_pair(rng: random.Random, key: tuple[int, ...], value: int) -> tuple[tuple[int, ...], int]:
    """Draw a pair until it differs from the gold pair in both key and value."""
    rng.randint(1, 1)  # How many subkeys.
    while True:
        rng.random()  # Whether the key holds some of the common subkeys.
        drawn, other = (draw_number(rng),), draw_number(rng)
        if drawn != key and other != value:
            return drawn, other


def draw_number(rng: random.Random) -> int:
    """Draw the number of digits, then the number."""
    digits = rng.randint(*DIGITS)
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def gold_places(rng: random.Random, numpy_rng: np.random.RandomState, count: int, num_dicts: int) -> list[int]:
    """Draw the gold dictionaries' places: uniform, then 5 % at the first and 3 % at the front."""
    places = [rng.randint(0, num_dicts - 1) for _ in range(count)]
    first = numpy_rng.choice(range(count), int(count * FIRST_FRACTION), replace=False).tolist()
    rest = [index for index in range(count) if index not in first]
    front = numpy_rng.choice(rest, int(count * FRONT_FRACTION), replace=False).tolist()
    for index in first:
        places[index] = 0
    for index in front:
        # The script takes 5 % of the samples for 5 % of the dictionaries, and fails where that is beyond the last.
        places[index] = rng.choice(range(min(int(count * 0.05), num_dicts)))
    return places


def arranged(sample: Sample, place: int) -> list[Dictionary]:
    """Return a copy of all dictionaries with the gold one at its place."""
    dictionaries = copy.deepcopy(sample.others)
    dictionaries.insert(place, copy.deepcopy(sample.gold))
    return dictionaries


def prompt(dictionaries: list[Dictionary], key: tuple[int, ...], template: bool) -> str:
    """Return the user message."""
    lines = [f"Dictionary [{name}] {spelled(each)}" for name, each in enumerate(dictionaries, start=1)]
    question = QUESTION + TEMPLATE if template else QUESTION
    return f"{TASK}\n\n" + "\n".join(lines) + "\n\n" + question.format(key=spelled(key))


def spelled(value: object) -> str:
    """Return a key or a dictionary as Python writes it, without the tuples' brackets."""
    return str(value).replace("(", "").replace(",)", "")


def count_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """Return the tokens of a text on its own, without chat template."""
    return len(tokenizer(text)["input_ids"])
