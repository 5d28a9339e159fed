"""Evaluating a model on benchmarks, with any backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework.benchmark_settings import Evaluate
from needlework.downloads import local
from needlework.evaluation_folder import (
    DONE,
    SUMMARY,
    UNFINISHED,
    begin,
    finished,
    forget,
    measurements_file,
    predictions_file,
    saved,
)
from needlework.inference.backend import TooLongError
from needlework.progress import Progress
from needlework.storage import checksum, locked, read_object, write_json, write_text

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


def run_benchmarks(
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
) -> dict[str, Any]:
    """Ask the benchmarks and write predictions and `summary.json` into a folder, unless that is done already.

    A folder that holds other benchmarks of the same model is added to.

    Args:
        name: The model's name.
        tokenizer: The model whose tokenizer counted the benchmarks' token budgets.
        settings: What the answers depend on; the folder holds answers of these alone.
        prepare: Returns the backend and the benchmarks, once they are needed.
        folder: The evaluation's folder.
        progress: Where to show progress.
        inside: Returns what is to be measured inside the backend's model, if anything.
        answered_by: Returns the backend and its versions, which are recorded with each benchmark.
        cache: Returns the answers of earlier runs, if they are to be used.
        skip_too_long: Leave prompts out that exceed the model's context, and count them.

    Returns:
        The content of `summary.json` (docs/records.md).

    Raises:
        RecipeError: If the folder was begun with other settings.
        DataError: If a file of the folder is damaged.
        TooLongError: If a prompt exceeds the model's context.
    """
    wanted = settings.get("benchmarks", {}).keys()
    before, done = saved(folder, settings), finished(folder)
    if done is not None and wanted <= done:
        return read_object(folder / SUMMARY) or {}
    progress.say(f"Evaluating {name}")
    backend, built = prepare()
    options = {"cache": cache(), "skip_too_long": skip_too_long}
    with locked(folder):
        # Another command may have begun or finished it while the model was loaded.
        before, done = saved(folder, settings), finished(folder)
        begin(folder, settings, before)
        parts = ("benchmarks", "measures")
        summary: dict[str, Any] = {"model": name, "tokenizer": tokenizer, "benchmarks": {}, "measures": {}}
        summary |= (read_object(folder / SUMMARY, *parts) or {}) | (read_object(folder / UNFINISHED, *parts) or {})
        for benchmark in built:
            if benchmark.name not in summary["benchmarks"] or not predictions_file(folder, benchmark.name).exists():
                try:
                    entry = _ask(benchmark, backend, folder, progress, options)
                except TooLongError:
                    forget(folder)
                    raise
                summary["benchmarks"][benchmark.name] = entry | {"answered_by": answered_by()}
                write_json(folder / UNFINISHED, summary)
        for each in inside(backend) if inside else ():
            if each.name not in summary["measures"] or not measurements_file(folder, each.name).exists():
                summary["measures"][each.name] = _record(each, folder, progress)
                write_json(folder / UNFINISHED, summary)
        write_json(folder / SUMMARY, summary)
        (folder / UNFINISHED).unlink(missing_ok=True)
        write_text(folder / DONE, "".join(f"{name}\n" for name in sorted((done or set()) | wanted)))
    return summary


def _ask(
    benchmark: Benchmark | General, backend: Backend, folder: Path, progress: Progress, options: dict[str, Any]
) -> dict[str, Any]:
    """Ask a benchmark, and return the entry of the summary."""
    from needlework.benchmarks import Benchmark
    from needlework.inference.evaluate import Evaluation, evaluate

    start, path = time.perf_counter(), predictions_file(folder, benchmark.name)
    further: dict[str, Any] = {}
    with progress.bar(f"  {benchmark.name}") as update:
        if isinstance(benchmark, Benchmark):
            result = evaluate(
                backend,
                benchmark.haystacks,
                benchmark.score,
                path,
                max_new_tokens=benchmark.max_new_tokens,
                stop=benchmark.stop,
                places=benchmark.places,
                report=update,
                **options,
            )
        else:
            result = Evaluation(benchmark.ask(backend, path, update))
            further = {"task versions": benchmark.versions}
    seconds = time.perf_counter() - start
    if result.kept:
        progress.say(f"  {result.kept} of {len(result.predictions)} answers are reused from earlier runs")
    empty = sum(not each.output.strip() for each in result.predictions)
    if 2 * empty > len(result.predictions):
        # They are wrong answers, but mostly for a reason that is no lack of knowledge.
        progress.say(
            f"  {empty} of {len(result.predictions)} answers are empty. A model that reasons before it answers "
            "needs a larger max_new_tokens, or a setting of its server that turns that off."
        )
    return _entry(benchmark, result, seconds) | further


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
        "meanings": getattr(benchmark, "meanings", {}),
        **_limit(benchmark, written),
    }


def _limit(benchmark: Benchmark | General, written: Sequence[int]) -> dict[str, int]:
    """Return the most tokens of an answer, and how many answers were cut off by it; of our own benchmarks alone."""
    from needlework.benchmarks import Benchmark

    if not isinstance(benchmark, Benchmark):
        return {}
    most = benchmark.max_new_tokens
    return {"max_new_tokens": most, "cut": sum(each >= most for each in written)}


def asked(chosen: Evaluate) -> dict[str, Any]:
    """Return the settings of benchmarks by name, with checksums of what they read and the version of lm-eval.

    Raises:
        UserError: If a file cannot be read, or lm-eval is not installed.
    """
    from needlework.corpus import digest

    settings: dict[str, Any] = chosen.model_dump(mode="json", exclude_none=True)
    for name in ("kv", "mdqa", "own", "flenqa"):
        file = settings.get(name, {}).get("file")
        # What flenqa is given may be an id of the hub.
        if file and (name != "flenqa" or Path(file).exists()):
            settings[name]["sha256"] = checksum(local(file))
    for name in ("flenqa", "perplexity", "drift"):
        if source := settings.get(name, {}).get("source"):
            settings[name]["text"] = digest(source)
    if chosen.general:
        from needlework.harness import general

        settings["general"]["lm_eval"] = general.version()
    return settings


def build_general(chosen: Evaluate, seed: int) -> list[General]:
    """Load the benchmarks of lm-evaluation-harness."""
    if not chosen.general:
        return []
    from needlework.harness import general

    return general.build(chosen.general, seed=seed)


def build_benchmarks(chosen: Evaluate, seed: int, renderer: Renderer) -> list[Benchmark]:
    """Build the benchmarks of our own, their token budgets counted with a renderer."""
    from needlework.benchmarks import flenqa, grounding, knowledge, known_unknowns, kv, mdqa, niah, own
    from needlework.dataset.composer import Composer

    composer, built = Composer(renderer), []

    def fit(name: str) -> Fit:
        return fitting(composer, f"evaluate.{name}.lengths")

    if chosen.kv:
        built.append(kv.build(chosen.kv, seed=seed, fit=fit("kv")))
    if chosen.niah:
        built.append(niah.build(chosen.niah, seed=seed, fit=fit("niah")))
    if chosen.own:
        built.append(own.build(chosen.own, seed=seed))
    if chosen.flenqa:
        built.append(flenqa.build(chosen.flenqa, seed=seed, fit=fit("flenqa")))
    if chosen.knowledge:
        built.append(knowledge.build(chosen.knowledge, seed=seed))
    if chosen.mdqa:
        built.append(mdqa.build(chosen.mdqa, seed=seed, fit=fit("mdqa")))
        built += mdqa.controls(built[-1]) if chosen.mdqa.controls else []
    if chosen.grounding:
        built.append(grounding.build(chosen.grounding, seed=seed))
    if chosen.known_unknowns:
        built.append(known_unknowns.build())
    return built


def fitting(counter: Counter, setting: str) -> Fit:
    """Return a `Fit` that counts with a tokenizer and chat template, and names a setting in its errors."""
    from needlework.dataset.budget import Budget

    # What was found of one haystack is a good first guess for the next.
    budget = cache(lambda max_tokens: Budget(max_tokens, counter, setting))

    def exact(draw: Draw, max_tokens: int, num_needles: int) -> tuple[Draft, int]:
        while True:
            draft, num_items = budget(max_tokens).fit(draw, min_items=num_needles, num_needles=num_needles)
            # If tables do not count as the tokenizer does, it is counted in text from now on.
            if counter.check(draft, num_items, 0):
                return draft, num_items

    def fit(draws: Sequence[Draw], max_tokens: int, num_needles: int) -> tuple[list[Draft], int]:
        drafts: list[Draft] = []
        num_items = 0
        for draw in draws:
            # Where the needle stands may change a token or two, so as many items mostly fit the next draft.
            draft = draw(num_items) if drafts else None
            if draft is None or counter.count(draft, num_items) > max_tokens:
                draft, num_items = exact(draw, max_tokens, num_needles)
            drafts.append(draft)
        return drafts, num_items

    return fit


def _record(measure: Measure, folder: Path, progress: Progress) -> dict[str, Any]:
    """Measure, and return the entry of the summary."""
    from needlework.measures import record

    start = time.perf_counter()
    with progress.bar(f"  {measure.name}") as update:
        count, means = record(measure, measurements_file(folder, measure.name), update)
    seconds = round(time.perf_counter() - start, 1)
    return {"title": measure.title, "n": count, "seconds": seconds, "means": means}
