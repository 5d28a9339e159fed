"""Comparing the predictions of evaluations, needle by needle, each against the first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from needlework.errors import DataError
from needlework.haystack import Prediction
from needlework.report import measures
from needlework.report.pairing import Answered, pair, read_answers, system_message
from needlework.report.statistics import LEVEL, clusters_of, contrast, holm, row
from needlework.report.stored import Evaluation, read
from needlework.report.text import in_order, is_number
from needlework.report.trainings import FEWEST, mean_row

METHOD = (
    "Paired by needle. Needles that share a question or a context form a cluster; 95 % intervals of changes by cluster "
    "bootstrap (expanded percentile, 10,000 resamples), of rates by Korn and Graubard; p by the exact sign-flip test. "
    "The p of a benchmark's positions, of its lengths, and of both together are each adjusted for their number by Holm."
)

OF_MEANS = (
    "Intervals and p of a mean also cover how trainings differ: by t, of the variance of questions and of trainings, "
    "with the degrees of freedom of Satterthwaite."
)

SIDES = ("before", "after")

COMPUTED = ("backend", "dtype", "system message")
"""In what evaluations may differ that are compared all the same: rounding, and what is said to the model in advance."""


def compare(
    base: str | os.PathLike[str], after: str | os.PathLike[str], *others: str | os.PathLike[str], mean: bool = False
) -> dict[str, Any]:
    """Compare evaluation folders with the first of them, on the benchmarks each shares with it.

    Args:
        base: The evaluation to compare with.
        after: Another evaluation.
        others: Further ones.
        mean: Whether all but the base are trainings of one recipe by different seeds, whose mean is compared as well.

    Returns:
        The content of `comparison.json`: of base and after rows overall, by gold position, by length, and by both;
        with more folders the same of each under `others`, and that of their mean under `mean`. docs/records.md has the
        form.

    Raises:
        DataError: If a folder holds no finished evaluation, shares no benchmark, or was asked different needles; or if
            there are too few trainings for a mean.
    """
    before, *afters = map(Path, (base, after, *others))
    if mean and len({each.resolve() for each in afters}) < max(FEWEST, len(afters)):
        raise DataError(
            f"a mean takes {FEWEST} different trainings or more, because fewer do not show how they vary. Train with "
            f"further seeds, or leave out the mean."
        )
    first, *rest = (_compare(before, each) for each in afters)
    method = f"{METHOD} {OF_MEANS}" if mean else METHOD
    heading = {"before": _summary(before)["model"], "after": first["after"], "level": LEVEL, "method": method}
    found = heading | first | ({"others": rest} if rest else {})
    return found | ({"mean": _mean(before, afters, first["benchmarks"])} if mean else {})


def _compare(before: Path, after: Path) -> dict[str, Any]:
    summaries = [_summary(folder) for folder in (before, after)]
    asked, asked_after = (each["benchmarks"] for each in summaries)
    shared = [name for name in asked if name in asked_after]
    if not shared and not measures.shared(before, after):
        raise DataError(f"{before} and {after} have no benchmark in common.")
    benchmarks = {}
    for name in shared:
        answered = [read_answers(folder, name) for folder in (before, after)]
        for each, summary in zip(answered, summaries, strict=True):
            _check_count(each, summary["benchmarks"][name])
        pairs = pair(*answered)
        too_long = {side: len(each.skipped) for side, each in zip(SIDES, answered, strict=True)}
        questions = [each for each, _ in pairs]
        clusters = _clusters(questions)
        unlike = _unlike(*(_computed(*each, name) for each in zip((before, after), summaries, strict=True)))
        entries = [each["benchmarks"][name] for each in summaries]
        for number, (score, title) in enumerate(asked[name]["titles"].items()):
            outcomes = _outcomes(pairs, score if number else "", f"{name} of {before} or {after}")
            benchmarks[name if number == 0 else f"{name}.{score}"] = {
                "title": title,
                "meaning": entries[1].get("meanings", {}).get(score, ""),
                **({"skipped": too_long} if any(too_long.values()) else {}),
                **({"unlike": unlike} if unlike else {}),
                **_cut(entries),
                **_tables(questions, outcomes[:, 0], outcomes[:, 1], clusters, row),
                **_shape(questions, outcomes, clusters),
            }
    alone = {
        side: [name for name in mine if name not in shared]
        for side, mine in zip(SIDES, (asked, asked_after), strict=True)
    }
    found = {"after": summaries[1]["model"], "benchmarks": benchmarks, "not_shared": alone}
    return found | ({"measures": measured} if (measured := measures.compare(before, after)) else {})


def _mean(before: Path, afters: Sequence[Path], benchmarks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows of the mean of several trainings, over the needles that each of them answered.

    Args:
        before: The evaluation of the model that all were made from.
        afters: Those of the trainings.
        benchmarks: What was compared of the first training.
    """
    found: dict[str, Any] = {}
    for name, each in benchmarks.items():
        base, _, score = name.partition(".")
        if not all(base in _summary(folder)["benchmarks"] for folder in afters):
            continue
        first = read_answers(before, base)
        said = [{one.id: other for one, other in pair(first, read_answers(folder, base))} for folder in afters]
        answers = [(one, *(side[id] for side in said)) for id, one in first.predictions.items()
                   if all(id in side for side in said)]  # fmt: skip
        if answers:
            questions = [one for one, *_ in answers]
            outcomes = _outcomes(answers, score, f"{base} of {before} or of a training")
            tables = _tables(questions, outcomes[:, 0], outcomes[:, 1:], _clusters(questions), mean_row)
            found[name] = {"title": each["title"], "meaning": each["meaning"], **tables}
    return {"after": f"mean of {len(afters)} trainings", "benchmarks": found}


def _clusters(asked: Sequence[Prediction]) -> Any:
    """Return the cluster of each needle, shape [N]."""
    return clusters_of([each.cluster or each.haystack for each in asked], [each.group for each in asked])


def _summary(folder: Path) -> dict[str, Any]:
    if not folder.exists():
        raise DataError(f"there is no folder {folder}. Give the folder of an evaluation.")
    if not (folder / "summary.json").exists():
        inside = " Those of a run are in its folders before and after." if (folder / "after").is_dir() else ""
        raise DataError(f"{folder} holds no finished evaluation: it has no summary.json.{inside}")
    return read(Evaluation, folder / "summary.json", "needlework evaluate")


def _check_count(answered: Answered, entry: dict[str, Any]) -> None:
    """Refuse a file of predictions that is not as long as it was when the evaluation ended."""
    if (count := len(answered.predictions)) != entry.get("n", count):
        raise DataError(
            f"{answered.folder / f'predictions-{answered.name}.jsonl'} has {count:,} answers, but summary.json counts "
            f"{entry['n']:,}: one of them is damaged. Evaluate again."
        )


def _cut(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the shares of answers that reached the limit of tokens, and the limit; nothing where none did."""
    shares = [each["cut"] / each["n"] if each.get("cut") else 0.0 for each in entries]
    return {"cut": dict(zip(SIDES, shares, strict=True)), "limit": entries[1]["max_new_tokens"]} if any(shares) else {}


def _computed(folder: Path, summary: dict[str, Any], name: str) -> dict[str, str]:
    """Return how the answers to a benchmark were computed, of what `COMPUTED` names."""
    answered_by: dict[str, str] = summary["benchmarks"][name].get("answered_by", {})
    system = system_message(folder)
    return answered_by | {"system message": "none" if system is None else repr(system)}


def _unlike(before: dict[str, str], after: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return how the two sides' computations differ, which may explain part of a change."""
    sides = {key: {side: each.get(key, "unknown") for side, each in zip(SIDES, (before, after), strict=True)}
             for key in COMPUTED}  # fmt: skip
    return {key: each for key, each in sides.items() if each["before"] != each["after"]}


def _outcomes(answers: Sequence[tuple[Prediction, ...]], score: str, where: str) -> Any:
    """Return whether each run hit, by the main score or by a further one, shape [N, runs]."""
    try:
        return np.array([[run.extra[score] if score else run.hit for run in each] for each in answers])
    except KeyError:
        raise DataError(f"{where} lacks the score {score!r}. Evaluate both with one version.") from None


def _tables(
    asked: Sequence[Prediction], before: Any, after: Any, clusters: Any, row_of: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    def table_row(indices: list[int]) -> dict[str, Any]:
        return row_of(before[indices], after[indices], clusters[indices])

    def rows(label: Callable[[Prediction], Any], within: Iterable[int]) -> dict[str, dict[str, Any]]:
        groups: dict[str, list[int]] = {}
        for index in within:
            value = label(asked[index])
            if value not in ("", None):
                groups.setdefault(str(value), []).append(index)
        return {key: table_row(groups[key]) for key in in_order(groups)}

    everything = list(range(len(asked)))
    by_position = rows(lambda each: each.place, everything)
    by_length = rows(lambda each: each.length, everything)
    by_both = {}
    for length in by_length:
        found = rows(lambda each: each.place, [i for i in everything if str(asked[i].length) == length])
        # Places that are no numbers may come in another order at one length than in all.
        by_both[length] = {place: found[place] for place in by_position if place in found}
    for family in (
        by_position.values(),
        by_length.values(),
        [each for rows in by_both.values() for each in rows.values()],
    ):
        for each, adjusted in zip(family, holm([each["p"] for each in family]), strict=True):
            each["adjusted_p"] = adjusted
    return {
        "overall": table_row(everything),
        "by_position": by_position,
        "by_length": by_length,
        "by_length_and_position": by_both,
    }


def _shape(asked: Sequence[Prediction], outcomes: Any, clusters: Any) -> dict[str, dict[str, float]]:
    """Return how accuracy depends on the gold position, where positions are numbers and there are several."""
    places = [each.place for each in asked]
    ordered = in_order(place for place in places if place)
    count = len(ordered)
    if count < 2 or not all(map(is_number, ordered)):
        return {}
    weights = {"primacy": [1.0, *[0.0] * (count - 2), -1.0]}
    if count > 2:
        weights["middle_dip"] = [0.5, *[-1 / (count - 2)] * (count - 2), 0.5]
    placed = [index for index, place in enumerate(places) if place]
    strata = [ordered.index(places[index]) for index in placed]
    before, after = outcomes[placed].astype(float).T
    found: dict[str, dict[str, float]] = {}
    for name, weighted in weights.items():
        found[name] = {}
        for side, values in (("before", before), ("after", after), ("change", after - before)):
            prefix = "" if side == "change" else f"{side}_"
            numbers = contrast(values, clusters[placed], strata, weighted, signed=side == "change")
            keys = (side, prefix + "low", prefix + "high")
            found[name] |= {key: round(number, 6) for key, number in zip(keys, numbers, strict=True)}
    return found
