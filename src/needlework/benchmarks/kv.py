"""Key-value retrieval: the task that was trained on, at several lengths and depths; or its harder kin."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import dropwhile

import numpy as np

from needlework.benchmark_settings import KV
from needlework.benchmarks import Benchmark, Fit, Score, uuids
from needlework.benchmarks.scoring import without_separators
from needlework.haystack import Haystack, Needle
from needlework.tasks import make_task
from needlework.tasks.draft import Draft
from needlework.tasks.protocol import Task

# Evaluation haystacks must not be those of training, whatever the seeds.
STREAM = 7_310_259


def build(settings: KV, *, seed: int, fit: Fit) -> Benchmark:
    """Build haystacks of each length, each asked once at every depth.

    Args:
        settings: See `KV`. A length holds prompt and longest answer, with the chat template.
        seed: Seed of the benchmark.
        fit: Finds how many items fit.

    Raises:
        BudgetError: If a length is too small for the task.
        UserError: If a file is malformed or too short.
    """
    depths = settings.depths
    if settings.file is not None:
        return uuids.from_file(settings.file, depths, settings.haystacks, seed)
    made: list[Haystack] = []
    places: dict[str, str] = {}
    task: Task = uuids.Uuids() if settings.task == "uuid" else make_task(settings.task, {"template": settings.template})
    for length in settings.lengths:
        for number in range(settings.haystacks):

            def draw(capacity: int, length: int = length, number: int = number) -> Draft:
                rng = np.random.default_rng([seed, STREAM, length, number])
                return task.draft(rng, capacity, len(depths), depths=depths)

            (draft,), num_items = fit([draw], length, len(depths))
            haystack = draft.haystack(num_items, f"kv/{length}/{number}")
            haystack.meta["length"] = length
            made.append(haystack)
            places |= {needle.id: f"{depth:.0%}" for needle, depth in zip(haystack.needles, depths, strict=True)}
    form = FORMS[settings.task]
    return Benchmark("kv", made, form.score, form.titles, form.max_new_tokens, places=places, meanings=form.meanings)


def score(needle: Needle, output: str) -> dict[str, bool]:
    """Score the value, and the value with its dictionary, by the first numbers after the key.

    The first number that is not the key itself counts as the value, the next as the dictionary: an output that
    lists a whole dictionary does not find the value by accident. One that begins with the dictionary misses, too,
    because it may be the beginning of such a list; between key and value it may stand. 5,921 is read as one number and
    as two.
    """
    key, value, name = re.findall(r"\d+", needle.answer)

    def found(said: list[str]) -> dict[str, bool]:
        after = [*dropwhile(key.__eq__, said)]
        return {"value": after[:1] == [value], "whole": after[:2] == [value, name]}

    return _either(found, output, (key,))


def score_subkeys(needle: Needle, output: str) -> dict[str, bool]:
    """Score the value, and the whole answer: key, value and dictionary, by the first numbers after the subkeys.

    As in `score`, numbers that were asked for are passed over, whether they repeat the question or are the key.
    """
    *subkeys, value, name = re.findall(r"\d+", needle.answer)
    # The answer names the subkeys twice: as they were asked, then as the key has them.
    key = subkeys[len(subkeys) // 2 :]

    def found(said: list[str]) -> dict[str, bool]:
        named = next((index for index, number in enumerate(said) if number not in key), len(said))
        whole = said[:named][-len(key) :] == key and said[named : named + 2] == [value, name]
        return {"value": said[named : named + 1] == [value], "whole": whole}

    return _either(found, output, key)


def _either(found: Callable[[list[str]], dict[str, bool]], output: str, key: Sequence[str]) -> dict[str, bool]:
    """Score the numbers of an output, read without thousands separators and with them."""
    plain, separated = found(_said(output, key)), found(_said(without_separators(output), key))
    return {name: hit or separated[name] for name, hit in plain.items()}


def _said(output: str, key: Sequence[str]) -> list[str]:
    """Return the numbers of an output; a dictionary that it names between key and value stands behind the value."""
    named = re.findall(r"(dictionary \[?)?(\d+)", output, re.IGNORECASE)
    said = [number for _, number in named]
    first = next((index for index, number in enumerate(said) if number not in key), len(said))
    if 0 < first < len(said) - 1 and named[first][0]:
        said[first : first + 2] = reversed(said[first : first + 2])
    return said


@dataclass(frozen=True, slots=True)
class Form:
    """How the answers of a task are scored."""

    score: Score
    titles: dict[str, str]
    max_new_tokens: int
    meanings: dict[str, str]


MEANINGS = {
    "value": "the first number after the key is its value",
    "whole": "the value is right, and so are the key and the dictionary it is in",
}

FORMS: dict[str, Form] = {
    # The whole answer takes 26 tokens where every digit is one, and 66 with the subkeys, named twice.
    "simple_dict": Form(score, {"value": "Key-value retrieval", "whole": "Key-value, whole answer"}, 32, MEANINGS),
    "multi_subkey": Form(
        score_subkeys, {"value": "Multi-subkey retrieval", "whole": "Multi-subkey, whole answer"}, 80, MEANINGS
    ),
    "uuid": Form(uuids.score, uuids.TITLES, uuids.MAX_NEW_TOKENS, uuids.MEANINGS),
}
