from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from needlework.benchmark_settings import FLenQA
from needlework.benchmarks import Benchmark, Draw, flenqa
from needlework.dataset.budget import PlainCounter
from needlework.errors import BudgetError, DataError, UserError
from needlework.evaluation import fitting
from needlework.haystack import Haystack, Needle
from needlework.models.chat import Renderer
from needlework.tasks.draft import Draft
from tests.benchmarks.proving import verdict

# The tests' tokenizer has a token for about each letter.
LENGTHS = (1500, 3000)
TASKS = ("MonoRel", "PIR", "Simplified RuleTaker")
# As the authors' notebook has them (github.com/alonj/Same-Task-More-Tokens, commit 0c80a14), but for the blank lines.
OFFICIAL = {
    ("MonoRel", False): (
        "Here are some facts. Answer the exact following question based on the text: Q Answer the question as it "
        "appears exactly.\n\nM\n\nQ\nAnswer only True or False."
    ),
    ("MonoRel", True): (
        "Here are some facts. Answer the exact following question based on the text: Q Answer the question as it "
        "appears exactly.\nShow your steps then answer with \u2019true\u2019 or \u2019false\u2019.\n\nM\n\nQ\n"
        "Let\u2019s work this out in a step by step way to be sure we have the right answer. Show your work and "
        "finally answer with \u2019true\u2019 or \u2019false\u2019. "
        "The final step should include the exact text of the question and the answer."
    ),
    ("PIR", False): "M\n\nTrue/False Question: Q\nAnswer only True or False.",
    ("PIR", True): (
        "Show your steps then answer with \u2019true\u2019 or \u2019false\u2019.\n\nM\n\nTrue/False Question: Q\n"
        "Let\u2019s work this out in a step by step way to\nbe sure we have the right answer."
    ),
    ("Simplified RuleTaker", False): (
        "Answer whether the statement Q can be derived from the rule and the facts. Answer with either "
        '"True" or "False".\nRule: [\'R\']\nFacts:\n\nM\n\nAnswer with either "True or "False".'
    ),
    ("Simplified RuleTaker", True): (
        "Answer whether the statement Q can be derived from the rule and the facts.\nShow your steps then answer with "
        'either "True" or "False".\nRule: [\'R\']\nFacts:\n\nM\n\nAnswer with either "True or "False". '
        "Let's work this out in a step by step way to be sure we have the right answer."
    ),
}


def build(renderer: Renderer | None = None, seed: int = 0, **changes: Any) -> Benchmark:
    """Build a benchmark of few samples, whose haystacks have six items each where no renderer counts tokens."""

    def six(draws: Sequence[Draw], max_tokens: int, num_needles: int) -> tuple[list[Draft], int]:
        return [draw(6) for draw in draws], 6

    fit = fitting(PlainCounter(renderer), "lengths") if renderer else six
    settings = FLenQA(**({"lengths": LENGTHS, "samples": 2} | changes))
    return flenqa.build(settings, seed=seed, fit=fit)


@pytest.fixture(scope="module")
def benchmark(tokenizer: Any) -> Benchmark:
    return build(Renderer(tokenizer))


def parts(haystack: Haystack) -> list[str]:
    """Return task, sample, padding, dispersion and length."""
    return haystack.id.split("/")[1:]


def facts(benchmark: Benchmark) -> dict[str, tuple[str, ...]]:
    """Return the two paragraphs of each sample, by group: what it begins with where the facts stand first."""
    return {each.needles[0].group: each.items[:2] for each in benchmark.haystacks if parts(each)[3] == "first"}


def asked(haystack: Haystack) -> str:
    text = haystack.message(haystack.needles[0])
    patterns = {"MonoRel": r"Is .* than .*\?", "PIR": r"Is .* room\?"}
    found = re.search(patterns.get(parts(haystack)[0], r"(?<=statement ).*(?= can be)"), text)
    assert found
    return found[0].split(" Answer")[0]


def test_each_sample_is_asked_with_each_padding_dispersion_and_length() -> None:
    made = build(dispersions=["first", "last"])
    asked = Counter(each.needles[0].group for each in made.haystacks)
    assert asked == {f"flenqa/{task}/{number}": 2 * 2 * 1 for task in TASKS for number in range(2)}
    assert made.places == {each.needles[0].id: parts(each)[3] for each in made.haystacks}


def test_the_label_follows_from_the_two_facts_and_from_the_whole_text(benchmark: Benchmark) -> None:
    for haystack in benchmark.haystacks:
        rule = re.search(r"(?<=Rule: ).*", haystack.preamble)
        for items in (facts(benchmark)[haystack.needles[0].group], haystack.items):
            found = verdict(parts(haystack)[0], asked(haystack), "\n".join(items), rule[0] if rule else "")
            assert str(found) == haystack.needles[0].answer


def test_labels_are_balanced() -> None:
    small = build(samples=6, lengths=(1500,), paddings=["same"], dispersions=["first"])
    answers = Counter((parts(each)[0], each.needles[0].answer) for each in small.haystacks)
    assert answers == {(task, answer): 3 for task in TASKS for answer in ("True", "False")}


def test_budgets_are_kept_and_filled_to_within_an_item(benchmark: Benchmark, renderer: Renderer) -> None:
    for haystack in benchmark.haystacks:
        spare = haystack.meta["length"] - renderer.count(haystack)
        longest = 1200 if parts(haystack)[2] == "books" else 250  # a sentence of Wikipedia, a paragraph
        assert 0 <= spare < longest


def test_the_facts_stand_where_the_dispersion_says(benchmark: Benchmark) -> None:
    gaps = set()
    for haystack in benchmark.haystacks:
        first, second = (haystack.items.index(fact) for fact in facts(benchmark)[haystack.needles[0].group])
        assert haystack.needles[0].position == first
        count, dispersion = len(haystack.items), parts(haystack)[3]
        expected = {"first": 0, "middle": count // 2 - 1, "last": count - 2}
        assert first == expected.get(dispersion, first)
        gaps.add((dispersion == "random", second - first))
    assert {gap for random, gap in gaps if not random} == {1}
    assert len({gap for random, gap in gaps if random}) > 3


def test_a_sample_differs_in_nothing_but_places_and_more_padding(benchmark: Benchmark) -> None:
    by_padding: dict[tuple[str, str], list[list[str]]] = defaultdict(list)
    for haystack in benchmark.haystacks:
        group = haystack.needles[0].group
        around = [item for item in haystack.items if item not in facts(benchmark)[group]]
        assert len(around) == len(haystack.items) - 2
        by_padding[group, parts(haystack)[2]].append(around)
    for made in by_padding.values():
        longest = max(made, key=len)
        assert all(around == longest[: len(around)] for around in made)
    assert len({(each.needles[0].group, each.needles[0].question) for each in benchmark.haystacks}) == 2 * len(TASKS)


def test_prompts_that_are_the_same_are_asked_once_and_have_no_place() -> None:
    def without_padding(**changes: Any) -> Benchmark:
        settings = FLenQA(tasks=("PIR",), samples=1, **changes)
        return flenqa.build(settings, seed=0, fit=lambda draws, *_: ([draw(2) for draw in draws], 2))

    made = without_padding()
    (only,) = made.haystacks
    assert made.places == {only.needles[0].id: ""}
    assert list((without_padding(dispersions=("last",)).places or {}).values()) == ["last"]


def test_it_depends_on_the_seed_alone() -> None:
    first, again, other = (build(seed=seed) for seed in (0, 0, 1))
    assert first.haystacks == again.haystacks
    assert set(facts(first).values()).isdisjoint(facts(other).values())


def test_a_length_that_is_too_small_names_the_smallest(renderer: Renderer) -> None:
    with pytest.raises(BudgetError, match=r"lengths=100, but the smallest flenqa haystack \(2 items"):
        build(renderer, lengths=(100,))


def test_a_text_that_is_too_short_is_an_error(renderer: Renderer, tmp_path: Path) -> None:
    (tmp_path / "essay.txt").write_text("One is here. Two is there.")
    with pytest.raises(UserError, match="the text for flenqa has 2 sentences, too few for 1500 tokens"):
        build(renderer, source=str(tmp_path), lengths=(1500,))


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("True", "true"),
        ("False.", "false"),
        ("The answer is **TRUE**.", "true"),
        ("It is not true.", "false"),
        ("It is not a true statement.", "false"),
        ("True or false? She is older, so the answer is true.", "true"),
        ("It seems true, but it is false.", "false"),
        ('It is not "true".', "false"),
        ("I cannot say.", ""),
        ("", ""),
    ],
)
def test_the_last_true_or_false_counts(output: str, said: str) -> None:
    score = build().score
    for label in ("True", "False"):
        needle = Needle("n", "n", "?", label, (label,), -1)
        assert score(needle, output) == {"correct": said == label.lower(), "answered": bool(said)}


def test_the_authors_slip_is_made_only_where_asked_for() -> None:
    needle = Needle("n", "n", "?", "True", ("True",), -1)
    slip = build(official_normalization=True).score
    assert slip(needle, 'It is not "true".')["correct"]
    assert not build().score(needle, 'It is not "true".')["correct"]
    assert not slip(needle, "It is not a true statement.")["correct"]
    assert slip(needle, "False, no: true!") == {"correct": True, "answered": True}


ROW: dict[str, Any] = {
    "label": "True",
    "assertion/question": "Q",
    "mixin": "M",
    "rule": ["R"],
    "padding_type": "same",
    "dispersion": "first",
    "ctx_size": 500,
}


def file_of(folder: Path, *, samples: int = 6) -> str:
    cells = product(TASKS, range(samples), ("same", "books"), ("first", "random"), (250, 500))
    rows = [
        ROW
        | {"dataset": task, "global_sample_id": TASKS.index(task) * 100 + number, "label": str(number % 2 == 0)}
        | {"padding_type": padding, "dispersion": dispersion, "ctx_size": size}
        | {"mixin": "M" if size == 250 else f"M {padding} {dispersion}"}
        for task, number, padding, dispersion, size in cells
    ]
    path = folder / "FLenQA.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("steps", [False, True])
def test_prompts_are_the_official_ones(task: str, steps: bool, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(ROW | {"dataset": task, "global_sample_id": 1}))
    chosen = {"tasks": [task], "samples": 1, "lengths": [500], "chain_of_thought": steps}
    made = build(file=str(path), **chosen)
    (haystack,) = made.haystacks
    assert haystack.message(haystack.needles[0]) == OFFICIAL[task, steps]
    assert made.max_new_tokens == 400


def test_samples_of_a_file_are_chosen_by_seed_and_keep_their_group(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    made = build(file=file, lengths=(250, 500), samples=3)
    groups = {each.needles[0].group for each in made.haystacks}
    assert Counter(group.split("/")[1] for group in groups) == {task: 3 for task in TASKS}
    every = {each.needles[0].group for each in build(file=file, lengths=(500,), samples=6).haystacks}
    assert groups < every
    assert groups != {f"flenqa/{task}/{TASKS.index(task) * 100 + number}" for task in TASKS for number in range(3)}


def test_a_file_is_asked_what_is_set(tmp_path: Path) -> None:
    chosen = {"tasks": ["PIR"], "paddings": ["books"], "dispersions": ["random"], "lengths": [500], "samples": 6}
    made = build(file=file_of(tmp_path), **chosen)
    assert [parts(each)[0:1] + parts(each)[2:] for each in made.haystacks] == [["PIR", "books", "random", "500"]] * 6
    assert {each.meta["length"] for each in made.haystacks} == {500}
    assert set((made.places or {}).values()) == {"random"}
    assert Counter(each.needles[0].accepted for each in made.haystacks) == {("True",): 3, ("False",): 3}


def test_repetitions_of_a_file_are_asked_once(tmp_path: Path) -> None:
    made = build(file=file_of(tmp_path), lengths=(250, 500), samples=6)
    by_length = Counter(each.meta["length"] for each in made.haystacks)
    assert by_length == {250: 3 * 6, 500: 3 * 6 * 4}
    assert {(made.places or {})[each.needles[0].id] for each in made.haystacks if each.meta["length"] == 250} == {""}


def test_too_few_samples_in_a_file_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"FLenQA\.jsonl has 6 samples of MonoRel .* fewer than the 20 asked for"):
        build(file=file_of(tmp_path), lengths=(500,), samples=20)
    with pytest.raises(UserError, match="has 0 samples of MonoRel"):
        build(file=file_of(tmp_path), lengths=(32_000,))


def test_a_file_with_a_missing_field_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(json.dumps({key: value for key, value in ROW.items() if key != "mixin"} | {"dataset": "PIR"}))
    with pytest.raises(DataError, match=r"broken\.jsonl, line 1: lacks the field"):
        build(file=str(path))
