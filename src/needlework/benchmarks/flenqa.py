"""FLenQA (Levy et al., Same Task, More Tokens, arXiv 2402.14848): does reasoning over two facts survive more text?

A question whose answer, True or False, takes two facts is asked with more and more padding around them, which says
nothing about what is asked. Prompts and scoring are the authors', but for the space around the text: a blank line is
before and after it, as in every haystack, where theirs have newlines, and in RuleTaker a space before it.
"""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice, product

import numpy as np

from needlework.benchmark_settings import FLenQA
from needlework.benchmarks import Benchmark, Fit
from needlework.benchmarks.flenqa_file import Row, read_rows
from needlework.benchmarks.flenqa_samples import padding, sample
from needlework.errors import UserError
from needlework.haystack import Haystack, Needle
from needlework.matching import normalize
from needlework.tasks.dictionaries import Floats, scatter
from needlework.tasks.draft import Arrangement, Asked, Draft
from needlework.tasks.invented import uniforms

PROMPTS = {
    "MonoRel": (
        "Here are some facts. Answer the exact following question based on the text: {question} "
        "Answer the question as it appears exactly.",
        "{question}\nAnswer only True or False.",
    ),
    "PIR": ("", "True/False Question: {question}\nAnswer only True or False."),
    "Simplified RuleTaker": (
        "Answer whether the statement {question} can be derived from the rule and the facts. "
        'Answer with either "True" or "False".\nRule: {rule}\nFacts:',
        'Answer with either "True or "False".',
    ),
}
"""What comes before and after the text, by task; typing errors are the authors'."""
STEP_BY_STEP = {
    "MonoRel": (
        "Here are some facts. Answer the exact following question based on the text: {question} "
        "Answer the question as it appears exactly.\nShow your steps then answer with ’true’ or ’false’.",  # noqa: RUF001
        "{question}\nLet’s work this out in a step by step way to be sure we have the right answer. "  # noqa: RUF001
        "Show your work and finally answer with ’true’ or ’false’. "  # noqa: RUF001
        "The final step should include the exact text of the question and the answer.",
    ),
    "PIR": (
        "Show your steps then answer with ’true’ or ’false’.",  # noqa: RUF001
        "True/False Question: {question}\n"
        "Let’s work this out in a step by step way to\nbe sure we have the right answer.",  # noqa: RUF001
    ),
    "Simplified RuleTaker": (
        "Answer whether the statement {question} can be derived from the rule and the facts.\n"
        'Show your steps then answer with either "True" or "False".\nRule: {rule}\nFacts:',
        'Answer with either "True or "False". '
        "Let's work this out in a step by step way to be sure we have the right answer.",
    ),
}
"""The same with chain of thought."""

MEANINGS = {"correct": "the last “true” or “false” is the right one", "answered": "there is one of them"}

# Samples and padding must not be those of other benchmarks' draws, whatever the seeds.
STREAM = 2_402_148
TASKS, PADDINGS = tuple(PROMPTS), ("same", "books")


def build(settings: FLenQA, *, seed: int, fit: Fit) -> Benchmark:
    """Build a haystack for each sample of each task, with each padding, dispersion and length.

    A sample has one group, whatever stands around it. Identical prompts, as where there is no room for padding, are
    asked once, and have no place if they are those of several dispersions.

    Args:
        settings: See `FLenQA`. A length holds prompt and answer, with the chat template; of a file it is `ctx_size`.
        seed: Draws the samples, or chooses those of the file.
        fit: Finds how many items fit; the two paragraphs count as the fewest.

    Raises:
        UserError: If a length is too small for a task, or the text or the file has too little.
    """
    file, samples = settings.file, settings.samples
    prompts = STEP_BY_STEP if settings.chain_of_thought else PROMPTS
    cells = list(product(settings.tasks, settings.paddings, settings.dispersions, settings.lengths))
    if file is None:
        found = [
            _fitted(cell, number, prompts[cell[0]], settings.source, seed, fit)
            for cell in cells
            for number in range(samples)
        ]
    else:
        found = [_official(row, prompts[row.dataset]) for row in _chosen(file, read_rows(file), cells, samples, seed)]
    haystacks, places = _different(found)
    title = "FLenQA, step by step" if settings.chain_of_thought else "FLenQA"
    titles = {"correct": title, "answered": f"{title}, answered at all"}
    scored = score_officially if settings.official_normalization else score
    tokens = settings.max_new_tokens
    return Benchmark("flenqa", haystacks, scored, titles, tokens, places=places, meanings=MEANINGS)


def _fitted(
    cell: tuple[str, str, str, int], number: int, prompt: tuple[str, str], source: str | None, seed: int, fit: Fit
) -> Haystack:
    """Make sample `number` of a task with as much padding as fits; longer ones begin with that of shorter ones."""
    task, kind, dispersion, length = cell
    stream = [seed, STREAM, TASKS.index(task), number]
    place_draws = np.random.default_rng([*stream, len(PADDINGS)]).random(2)

    def draw(capacity: int) -> Draft:
        taken: set[str] = set()
        # Right answers take turns, so that an even number of samples is balanced.
        drawn = sample(task, uniforms(np.random.default_rng(stream)), taken, label=number % 2 == 0)
        draws = uniforms(np.random.default_rng([*stream, PADDINGS.index(kind)]))
        around = padding(kind, task, draws, taken, source)
        contents = [*drawn.paragraphs, *islice(around, capacity - 2)]
        preamble, question = (text.format(question=drawn.question, rule=drawn.rule) for text in prompt)

        def arrange(num_items: int) -> Arrangement:
            if num_items > len(contents):
                raise UserError(
                    f"the text for flenqa has {len(contents) - 2} sentences, too few for {length} tokens. "
                    f"Give more text or a smaller length."
                )
            places = _PLACES[dispersion](num_items, place_draws)
            answer = str(drawn.label)
            return Arrangement(num_items, places, (Asked((question,), (answer,), (answer,), places[0]),))

        return Draft("flenqa", preamble, contents, arrange)

    (draft,), num_items = fit([draw], length, 2)
    haystack = draft.haystack(num_items, f"flenqa/{task}/{number}/{kind}/{dispersion}/{length}")
    return _named(haystack, f"flenqa/{task}/{number}", dispersion, length)


_PLACES: dict[str, Callable[[int, Floats], Sequence[int]]] = {
    "first": lambda num_items, draws: (0, 1),
    "middle": lambda num_items, draws: (num_items // 2 - 1, num_items // 2),
    "last": lambda num_items, draws: (num_items - 2, num_items - 1),
    # In the order of the other dispersions, so that they differ in nothing else.
    "random": lambda num_items, draws: sorted(scatter(draws.tolist(), num_items)),
}
"""Where the two paragraphs stand, from the number of items and two draws from [0, 1)."""


def _chosen(
    file: str, rows: Iterable[Row], cells: Iterable[tuple[str, str, str, int]], samples: int, seed: int
) -> list[Row]:
    """Return the rows of the file that are asked for, of `samples` random samples of each task.

    Raises:
        UserError: If a task has fewer samples.
    """
    rank = {cell: number for number, cell in enumerate(cells)}
    by_task: dict[str, dict[str, list[Row]]] = {task: {} for task, *_ in rank}
    for row in rows:
        if row.cell in rank:
            by_task[row.dataset].setdefault(row.global_sample_id, []).append(row)
    chosen: list[Row] = []
    for task, found in by_task.items():
        if len(found) < samples:
            raise UserError(
                f"{file} has {len(found)} samples of {task} with the paddings, dispersions and lengths asked for, "
                f"fewer than the {samples} asked for. Lower evaluate.flenqa.samples, or ask for lengths the file has."
            )
        ids = sorted(found)
        order = np.random.default_rng([seed, STREAM, TASKS.index(task)]).permutation(len(ids))[:samples]
        chosen += [row for index in order.tolist() for row in found[ids[index]]]
    return sorted(chosen, key=lambda row: rank[row.cell])


def _official(row: Row, prompt: tuple[str, str]) -> Haystack:
    """Make a haystack of a row of the authors' file; its text, facts and padding, is the one item."""
    preamble, question = (text.format(question=row.question, rule=row.rule) for text in prompt)
    id = f"flenqa/{row.dataset}/{row.global_sample_id}/{row.padding_type}/{row.dispersion}/{row.ctx_size}"
    needle = Needle(id, id, question, row.label, (row.label,), position=-1)
    haystack = Haystack(id, "flenqa", preamble, (row.mixin,), (needle,))
    return _named(haystack, f"flenqa/{row.dataset}/{row.global_sample_id}", row.dispersion, row.ctx_size)


def _named(haystack: Haystack, group: str, dispersion: str, length: int) -> Haystack:
    needle = replace(haystack.needles[0], id=haystack.id, group=group)
    return replace(haystack, needles=(needle,), meta={"dispersion": dispersion, "length": length})


def _different(haystacks: Iterable[Haystack]) -> tuple[list[Haystack], dict[str, str]]:
    """Return the haystacks without repetitions, and the place of each needle by id."""
    same: dict[tuple[str, str], list[Haystack]] = defaultdict(list)
    for each in haystacks:
        same[each.needles[0].group, each.message(each.needles[0])].append(each)
    places = {}
    for first, *others in same.values():
        (place, *more) = {each.meta["dispersion"] for each in (first, *others)}
        places[first.needles[0].id] = "" if more else place
    return [first for first, *_ in same.values()], places


def score(needle: Needle, output: str) -> dict[str, bool]:
    """Score whether the answer, True or False, is right, and whether there is one."""
    return _scored(needle, _category(output))


def score_officially(needle: Needle, output: str) -> dict[str, bool]:
    """Score the same with the bug of the authors' code."""
    return _scored(needle, _official_category(output))


def _scored(needle: Needle, said: str) -> dict[str, bool]:
    return {"correct": said == needle.answer.lower(), "answered": said != ""}


def _category(output: str) -> str:
    """Return which of "true" and "false" stands last in the output, "not true" being false; "" for neither."""
    return _last(normalize(output))


def _official_category(output: str) -> str:
    """Return the same with the punctuation left in, as the authors' `normalize_answer` leaves it.

    It replaces all of `string.punctuation`, in one piece, by nothing: `not "true"` then counts as true.
    """
    text = output.lower().replace(string.punctuation, "")
    return _last(" ".join(re.sub(r"\b(a|an|the)\b", " ", text).split()))


def _last(text: str) -> str:
    text = text.replace("not true", "false")
    said = max(("true", "false"), key=text.rfind)
    return said if said in text else ""
