"""Asking a model the benchmarks, whatever backend answers for it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework.benchmark_settings import Evaluate
from needlework.downloads import local
from needlework.errors import DataError, RecipeError
from needlework.progress import Progress
from needlework.storage import difference, write_json, write_text

if TYPE_CHECKING:
    from needlework.benchmarks import Benchmark, Draw, Fit
    from needlework.dataset.budget import Counter
    from needlework.harness.general import General
    from needlework.inference.backend import Backend
    from needlework.inference.cache import AnswerCache
    from needlework.inference.evaluate import Evaluation
    from needlework.measures import Measure
    from needlework.models.chat import Renderer
    from needlework.tasks.draft import Draft

DONE = "done"
"""Marker of a finished evaluation: the names of the benchmarks that were asked."""


def measure(
    name: str,
    tokenizer: str,
    settings: dict[str, Any],
    prepare: Callable[[], tuple[Backend, Sequence[Benchmark | General]]],
    folder: Path,
    progress: Progress,
    *,
    inside: Callable[[Backend], list[Measure]] | None = None,
    answered_by: Callable[[], dict[str, str]] = dict,
    cache: Callable[[], AnswerCache | None] = lambda: None,
    skip_too_long: bool = False,
) -> None:
    """Ask the benchmarks and write predictions and `summary.json` into a folder, unless that was done.

    A folder that holds other benchmarks of the same model is added to.

    Args:
        name: The model's name.
        tokenizer: The model whose tokenizer counted the benchmarks' token budgets.
        settings: What the answers depend on; the folder holds answers of these alone.
        prepare: Returns the backend and the benchmarks, once they are needed.
        folder: Of the evaluation.
        progress: Where to show progress.
        inside: Returns what is to be measured inside the backend's model, if anything.
        answered_by: Returns the backend and its versions, which are recorded with each benchmark.
        cache: Returns the answers of earlier runs, if they are to be used.
        skip_too_long: Leave prompts out that exceed the model's context, and count them.

    Raises:
        RecipeError: If the folder was begun with other settings.
        TooLongError: If a prompt exceeds the model's context.
    """
    path, wanted = folder / "settings.json", settings.get("benchmarks", {})
    saved = _saved(path, settings)
    finished = _finished(folder)
    if finished is not None and wanted.keys() <= finished:
        return
    from needlework.benchmarks import Benchmark
    from needlework.environment import describe
    from needlework.inference.evaluate import Evaluation
    from needlework.inference.evaluate import evaluate as ask

    progress.say(f"Evaluating {name}")
    backend, built = prepare()
    kept = cache()
    if saved is None:
        write_json(folder / "environment.json", describe())
    together = settings | {"benchmarks": (saved or {}).get("benchmarks", {}) | wanted}
    if together != saved:
        write_json(path, together)
    summary: dict[str, Any] = {"model": name, "tokenizer": tokenizer, "benchmarks": {}, "measures": {}}
    if (folder / "summary.json").exists():
        summary |= json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    for benchmark in built:
        answers = folder / f"predictions-{benchmark.name}.jsonl"
        if benchmark.name in summary["benchmarks"] and answers.exists():
            continue
        start = time.perf_counter()
        with progress.bar(f"  {benchmark.name}") as update:
            if isinstance(benchmark, Benchmark):
                result = ask(
                    backend,
                    benchmark.haystacks,
                    benchmark.score,
                    answers,
                    max_new_tokens=benchmark.max_new_tokens,
                    stop=benchmark.stop,
                    places=benchmark.places,
                    report=update,
                    cache=kept,
                    skip_too_long=skip_too_long,
                )
            else:
                result = Evaluation(benchmark.ask(backend, answers, update))
        entry = _entry(benchmark, result, time.perf_counter() - start)
        if not isinstance(benchmark, Benchmark):
            entry["task versions"] = benchmark.versions
        if entry["kept"]:
            progress.say(f"  {entry['kept']} of {entry['n']} answers are those of earlier runs")
        summary["benchmarks"][benchmark.name] = entry | {"answered_by": answered_by()}
    for each in inside(backend) if inside else ():
        if each.name not in summary["measures"]:
            summary["measures"][each.name] = _record(each, folder, progress)
    write_json(folder / "summary.json", summary)
    write_text(folder / DONE, "".join(f"{name}\n" for name in sorted((finished or set()) | wanted.keys())))


def _entry(benchmark: Benchmark | General, result: Evaluation, seconds: float) -> dict[str, Any]:
    """Return what the summary says of a benchmark."""
    predictions = result.predictions
    written = [each.output_tokens for each in predictions if each.output_tokens is not None]
    return {
        "n": len(predictions),
        "skipped": len(result.skipped),
        "kept": result.kept,
        "accuracy": sum(each.hit for each in predictions) / len(predictions),
        "seconds": round(seconds, 1),
        "prompt_tokens": sum(each.prompt_tokens for each in predictions),
        "output_tokens": sum(written) if len(written) == len(predictions) else None,
        "titles": benchmark.titles,
    }


def asked(chosen: Evaluate) -> dict[str, Any]:
    """Return the settings of benchmarks by name, with the checksums of the files they read and the version of lm-eval.

    Raises:
        UserError: If a file cannot be read, or lm-eval is not installed.
    """
    settings: dict[str, Any] = chosen.model_dump(mode="json", exclude_none=True)
    for name in ("kv", "mdqa", "own", "flenqa"):
        file = settings.get(name, {}).get("file")
        # What flenqa is given may be an id of the hub.
        if file and (name != "flenqa" or Path(file).exists()):
            settings[name]["sha256"] = _checksum(local(file))
    if chosen.general:
        from needlework.harness import general

        settings["general"]["lm_eval"] = general.version()
    return settings


def build_general(chosen: Evaluate, seed: int) -> list[General]:
    """Load the benchmarks of lm-evaluation-harness."""
    if not chosen.general:
        return []
    from needlework.harness import general

    return general.build(**chosen.general.model_dump(), seed=seed)


def build_benchmarks(chosen: Evaluate, seed: int, renderer: Renderer) -> list[Benchmark]:
    """Build the benchmarks of our own, their token budgets counted with a renderer."""
    from needlework.benchmarks import flenqa, grounding, knowledge, known_unknowns, kv, mdqa, niah, own
    from needlework.dataset.composer import Composer

    fit = fitting(Composer(renderer))
    built = []
    if chosen.kv:
        built.append(kv.build(**chosen.kv.model_dump(), seed=seed, fit=fit))
    if chosen.niah:
        built.append(niah.build(**chosen.niah.model_dump(), seed=seed, fit=fit))
    if chosen.own:
        built.append(own.build(**chosen.own.model_dump(), seed=seed))
    if chosen.flenqa:
        built.append(flenqa.build(**chosen.flenqa.model_dump(), seed=seed, fit=fit))
    if chosen.knowledge:
        built.append(knowledge.build(**chosen.knowledge.model_dump(), seed=seed))
    if chosen.mdqa:
        built.append(mdqa.build(**chosen.mdqa.model_dump(exclude={"controls"}), seed=seed, fit=fit))
        built += mdqa.controls(built[-1]) if chosen.mdqa.controls else []
    if chosen.grounding:
        built.append(grounding.build(**chosen.grounding.model_dump(), seed=seed))
    if chosen.known_unknowns:
        built.append(known_unknowns.build())
    return built


def fitting(counter: Counter) -> Fit:
    """Return what finds how many items fit, by the counts of a tokenizer and chat template."""
    from needlework.dataset.budget import Budget

    # What was found of one haystack is a good first guess for the next.
    budget = cache(lambda max_tokens: Budget(max_tokens, counter))

    def fit(draws: Sequence[Draw], max_tokens: int, num_needles: int) -> tuple[list[Draft], int]:
        drafts: list[Draft] = []
        num_items = 0
        for draw in draws:
            # Where the needle stands may change a token or two, so as many items mostly fit the next draft.
            draft = draw(num_items) if drafts else None
            if draft is None or counter.count(draft, num_items) > max_tokens:
                draft, num_items = budget(max_tokens).fit(draw, min_items=num_needles, num_needles=num_needles)
            drafts.append(draft)
        return drafts, num_items

    return fit


def _checksum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from None


def _record(measure: Measure, folder: Path, progress: Progress) -> dict[str, Any]:
    """Measure, and return the entry of the summary."""
    from needlework.measures import record

    start = time.perf_counter()
    with progress.bar(f"  {measure.name}") as update:
        means = record(measure, folder / f"measures-{measure.name}.jsonl", update)
    seconds = round(time.perf_counter() - start, 1)
    return {"title": measure.title, "n": measure.count, "seconds": seconds, "means": means}


def _saved(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a folder was begun with, checked against what it is to hold; benchmarks may be added to it."""
    if not path.exists():
        return None
    saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    asked = settings.get("benchmarks", {})
    shared = {name: section for name, section in saved.get("benchmarks", {}).items() if name in asked}
    here = {name: section for name, section in asked.items() if name in shared}
    if found := difference(saved | {"benchmarks": shared}, settings | {"benchmarks": here}):
        raise RecipeError(
            f"{path.parent} holds another evaluation: {found}. Give another --output, or delete the folder."
        )
    return saved


def _finished(folder: Path) -> set[str] | None:
    """Return the benchmarks that were asked to the end; None where none were."""
    path = folder / DONE
    return set(path.read_text(encoding="utf-8").split()) if path.exists() else None
