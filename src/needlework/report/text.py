"""What the report says in words: numbers, the verdict, its limits, and untrusted text made safe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from needlework.haystack import LOWER_IS_BETTER, Prediction
from needlework.report.margin import MARGIN, judge
from needlework.visible import visible

Row = Mapping[str, float]
"""A row of comparison.json: before, after and change as rates between 0 and 1, with their intervals."""

KEPT = frozenset({"knowledge", "known_unknowns", "mmlu", "hellaswag", "gsm8k", "triviaqa", "nq_open"})
"""Benchmarks that finetuning should leave as they are: their question is harm, not gain."""

_FEW = 100
_MINUS = "\N{MINUS SIGN}"
_LEAP = 0.3
"""From this change on, "from 3% to 98%" says more than "+95 points"."""


def percent(rate: float, digits: int = 0) -> str:
    """Return a rate as text: "98%", or with decimals or a bound where rounding would claim a false 0% or 100%."""
    rounded = f"{100 * rate:.{digits}f}"
    if rate in (0, 1) or float(rounded) not in (0, 100):
        return f"{rounded}%"
    if digits == 0:
        return percent(rate, 1)
    return f"< {10**-digits:.{digits}f}%" if rate < 0.5 else f"> {100 - 10**-digits:.{digits}f}%"


def points(change: float) -> str:
    """Return a change of rate as signed percentage points, such as "+9.1"."""
    text = f"{100 * change:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", _MINUS)


def p_value(p: float) -> str:
    """Return "= 0.0004", or a bound where the digits would mean nothing."""
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def significant(number: float) -> str:
    """Return a number that is no rate, such as a loss, with three significant digits."""
    return f"{number:.3g}".replace("-", _MINUS)


def is_part(name: str, names: Mapping[str, Any]) -> bool:
    """Whether a benchmark such as "kv.whole" is a second score of another one that is present."""
    return "." in name and name.split(".")[0] in names


def is_kept(name: str) -> bool:
    """Whether the benchmark asks what finetuning broke, rather than what it gained."""
    return name.split(".")[0] in KEPT


def fullest(tables: Iterable[Mapping[str, Row]]) -> dict[str, Row]:
    """Return the row over the most needles of each key: the first run's rate, where others answered fewer of them."""
    found: dict[str, Row] = {}
    for table in tables:
        found |= {key: row for key, row in table.items() if key not in found or row["n"] > found[key]["n"]}
    return found


def is_fault(name: str) -> bool:
    """Whether a benchmark such as "known_unknowns.invented" counts what went wrong."""
    return name.partition(".")[2] in LOWER_IS_BETTER


def as_gain(name: str, row: Row) -> Row:
    """Return a row in which more is better: where a benchmark counts faults, the change with its sign turned."""
    return {**row, "change": -row["change"], "low": -row["high"], "high": -row["low"]} if is_fault(name) else row


def direction(name: str, row: Row, level: float) -> int:
    """Return 1 for better, -1 for worse, 0 within noise.

    A gain is claimed only if interval and exact p agree; the interval alone is enough to report a loss.

    Args:
        name: The benchmark's name.
        row: The row.
        level: The level of the interval.
    """
    row = as_gain(name, row)
    if row["high"] < 0:
        return -1
    return int(row["low"] > 0 and row["p"] < 1 - level)


def verdict(comparison: Mapping[str, Any], haystacks: int | None = None) -> str:
    """Return the outcome as one sentence that claims no more than the intervals allow.

    Args:
        comparison: The content of comparison.json.
        haystacks: How many haystacks the model was finetuned on; None where two models are just compared.
    """
    level, benchmarks = comparison["level"], comparison["benchmarks"]
    words: dict[int, list[str]] = {1: [], -1: [], 0: []}
    safe: list[str] = []
    unsure: list[str] = []
    label = f"{100 * level:.0f}% interval "
    for name in (name for name in benchmarks if not is_part(name, benchmarks)):
        row, title = benchmarks[name]["overall"], in_sentence(benchmarks[name]["title"])
        way, change = direction(name, row, level), f"{points(row['change'])} points"
        span = f"{points(row['low'])} to {points(row['high'])}"
        if is_kept(name) and not way:
            title = "knowledge" if name == "knowledge" else title
            (safe if judge(row) == "no harm" else unsure).append(f"{title} ({change}, {span})")
        elif way and abs(row["change"]) >= _LEAP:
            words[way].append(f"{title} from {percent(row['before'])} to {percent(row['after'])}")
        else:
            detail, label = f"{label}{span}, p {p_value(row['p'])}", ""
            size = f" by {100 * abs(row['change']):.1f} points (" if way else f" ({change}, "
            words[way].append(f"{title}{size}{detail})")
    return _sentence(_subject(comparison, haystacks), words, safe, unsure)


def _subject(comparison: Mapping[str, Any], haystacks: int | None) -> str:
    if haystacks is None:
        the = "the " if "mean" in comparison else ""
        return f"Going from {model_name(comparison['before'])} to {the}{model_name(comparison['after'])}"
    mean = f" (mean of {1 + len(comparison['others'])} trainings)" if "mean" in comparison else ""
    return f"Finetuning on {haystacks:,} haystack{'' if haystacks == 1 else 's'}{mean}"


def _sentence(subject: str, words: dict[int, list[str]], safe: list[str], unsure: list[str]) -> str:
    verbs = []
    if words[1]:
        verbs.append("raised " + listed(words[1]))
    if words[-1]:
        verbs.append(("but " if verbs else "") + "lowered " + listed(words[-1]))
    if words[0]:
        verbs.append(("and " if verbs else "") + "left " + listed(words[0]) + " within noise")
    text = f"{subject} {', '.join(verbs)}" if verbs else ""
    if safe:
        start = f"{text}, with" if text else f"{subject} brought"
        text = f"{start} no measurable loss of {listed(safe)}"
    if unsure:
        few = f"too few questions to rule out a loss of {100 * MARGIN:.0f} points"
        text += f"; {few} of {listed(unsure)}" if text else f"{subject}: {few} of {listed(unsure)}"
    return (text or f"{subject}: nothing was compared") + "."


def listed(parts: list[str]) -> str:
    """Join as in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def in_order(labels: Iterable[str]) -> list[str]:
    """Return each label once: "0%", "25%", "100%" and "1", "10" sorted as numbers, names as they came."""
    found = list(dict.fromkeys(labels))
    return sorted(found, key=lambda label: float(label.rstrip("%"))) if all(map(is_number, found)) else found


def is_number(label: str) -> bool:
    """Whether a label is a number or a percentage."""
    try:
        float(label.rstrip("%"))
    except ValueError:
        return False
    return True


def in_sentence(title: str) -> str:
    """Return a title as it reads inside a sentence: its first letter small, unless it opens an acronym or a name."""
    first = title.partition(" ")[0]
    return title[:1].lower() + title[1:] if first[1:].islower() or not first[1:] else title


def model_name(model: str) -> str:
    """Return a model's name as a reader knows it: a hub name as it is, a path by its telling end.

    Every finetuned model of ours is called <run>/train/model, so there the run is what tells them apart.
    """
    parts = PurePosixPath(model).parts
    if parts[-2:] == ("train", "model"):
        return f"{parts[-3]} (finetuned)" if len(parts) > 2 else "the finetuned model"
    return model if len(parts) <= 2 and not model.startswith(("/", ".")) else (parts or ("unnamed",))[-1]


def labels(models: Sequence[str]) -> list[str]:
    """Return what a comparison's runs are called: "before" and "after", or by their models where there are more."""
    return ["before", "after"] if len(models) == 2 else names(models)


def names(models: Sequence[str]) -> list[str]:
    """Return the name of each model; those of one name are numbered."""
    found = [visible(model_name(model)) for model in models]
    return [
        name if found.count(name) == 1 else f"{name} #{found[: index + 1].count(name)}"
        for index, name in enumerate(found)
    ]


def duration(seconds: float) -> str:
    """Return a time as a reader would say it: "41 s", "3 min 12 s", "2 h 05 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left:02} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def training(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the training took, as names and values: whatever of it the summary knows."""
    count = "{:,}".format
    facts: list[tuple[str, str, Callable[[Any], str]]] = [
        ("haystacks", "haystacks", count),
        ("answers", "answers", count),
        ("tokens", "tokens", count),
        ("seconds", "time", duration),
        ("trainable_parameters", "parameters trained", _millions),
        ("parameters", "parameters in all", _millions),
        ("peak_gpu_memory_gib", "peak memory of the GPU", "{:.1f} GiB".format),
        ("peak_memory_gib", "peak memory of the process", "{:.1f} GiB".format),
        ("precision", "precision", str),
    ]
    return [(name, say(summary[key])) for key, name, say in facts if summary.get(key) is not None]


def _millions(number: float) -> str:
    return f"{number / 1e6:,.1f} million"


def limits(comparison: Mapping[str, Any]) -> list[str]:
    """Return what the numbers do not show."""
    few = [f"{in_sentence(each['title'])} ({each['overall']['clusters']:,})"
           for each in comparison["benchmarks"].values() if each["overall"]["clusters"] < _FEW]  # fmt: skip
    seeds = (
        "Those of the mean also cover how another seed of the training would have turned out, as far as "
        f"{1 + len(comparison['others'])} trainings show it; those of single trainings do not. A mean can hide one "
        "that lost: `needlework gate` judges each."
        if "mean" in comparison
        else "They do not cover how another seed of the training would have turned out"
        f"{'.' if comparison.get('others') else ': this is one run.'}"
    )
    return [
        f"The intervals cover which questions happened to be asked. {seeds}",
        "Intervals by position and length are not corrected for their number; one in twenty misses by chance. Holm's "
        "correction of their p stands in the tables.",
        "Answers are scored by rules: a right one in other words may count as a miss, a wrong one with the right "
        "string as a hit.",
        *([f"Few contexts, so wide intervals: {listed(few)}."] if few else []),
    ]


def failed(prediction: Prediction) -> list[str]:
    """Return the further scores that an answer failed."""
    return [name for name, is_met in prediction.extra.items() if not is_met and name not in LOWER_IS_BETTER]


def where(prediction: Prediction) -> str:
    """Return where the gold item stood, and in how long a prompt."""
    place = prediction.place
    spot = f"at {place} depth, " if place.endswith("%") else f"position {place}, " if place else ""
    return f"{spot}{prediction.prompt_tokens:,} prompt tokens"


def clip(text: str, length: int, around: Sequence[str] = ()) -> str:
    """Return at most `length` characters, an ellipsis where something was left out.

    The part shown is the beginning, or the surroundings of the first string of `around` that occurs.
    """
    text = text.strip()
    if len(text) <= length:
        return text
    found = min((at for each in around if (at := text.lower().find(each.lower())) >= 0), default=0)
    start = min(max(0, found - length // 2), len(text) - length)
    head, tail = ("…" if start else ""), ("…" if start + length < len(text) else "")
    return head + text[start + len(head) : start + length - len(tail)].strip() + tail
