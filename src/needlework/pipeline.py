"""The whole experiment, stage by stage. The one file that knows them all.

Stages communicate through files: each writes its marker last, and is not run again once that is there.
"""

from __future__ import annotations

import gc
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from needlework import backends, processes
from needlework import recipe as recipes
from needlework.benchmark_settings import Evaluate
from needlework.errors import RecipeError
from needlework.evaluation import asked, build_benchmarks, build_general, run_benchmarks
from needlework.preparation import check_single, check_task, check_training, make_renderer, training_data
from needlework.progress import Progress, Silent
from needlework.recipe import Model, Recipe
from needlework.storage import difference, locked, read_object, write_json, write_text
from needlework.train import trackers

if TYPE_CHECKING:
    from needlework.benchmarks import Benchmark
    from needlework.harness.general import General
    from needlework.inference.backend import Backend
    from needlework.models.chat import Renderer
    from needlework.models.loading import Precision


def run(recipe: Recipe, output: str | os.PathLike[str], progress: Progress | None = None) -> dict[str, Any]:
    """Evaluate, finetune, evaluate again, compare and report; continue where an earlier call stopped.

    Args:
        recipe: The experiment.
        output: The run's folder.
        progress: Where to show progress; by default nowhere.

    Returns:
        The comparison, as in `comparison.json`.

    Raises:
        UserError: If the recipe, the model or the folder is not usable; says why.
    """
    progress, output = progress or Silent(), Path(output)
    processes.refuse_several()
    check_task(recipe)
    with locked(output):
        return _run(recipe, output, progress)


def _run(recipe: Recipe, output: Path, progress: Progress) -> dict[str, Any]:
    recipe = _settle(recipe, output)
    # It is written last.
    if (output / "report.html").exists():
        progress.say(f"Nothing to do: {output} is finished.")
        return read_object(output / "comparison.json") or {}
    if not (output / "train/summary.json").exists():
        trackers.check(recipe.train.trackers)
        check_training(recipe, make_renderer(recipe.model), progress)
    base, before = recipe.model.name, output / "before"
    evaluate(recipe.model, recipe.evaluate, recipe.seed, before, progress, base)
    folders = [output, *(output / f"seed-{seed}" for seed in recipe.seeds[1:])]
    for number, (folder, seed) in enumerate(zip(folders, recipe.seeds, strict=True), start=1):
        if recipe.trainings > 1:
            progress.say(f"Training {number} of {recipe.trainings}, seed {seed}")
        if folder == output:
            _finetune(recipe, output, progress)
        else:
            finetune(recipe.model_copy(update={"seed": seed, "trainings": 1}), folder, progress)
        tuned = recipe.model.model_copy(update={"name": str(folder / "train" / "model")})
        evaluate(tuned, recipe.evaluate, recipe.seed, folder / "after", progress, base)
        if folder != output:
            write_comparison(before, folder / "after", folder)
    afters = [folder / "after" for folder in folders]
    comparison = write_comparison(before, afters[0], output, *afters[1:], mean=recipe.trainings > 1)
    report(output, progress)
    return comparison


def evaluate(
    model: Model,
    benchmarks: Evaluate,
    seed: int,
    folder: str | os.PathLike[str],
    progress: Progress | None = None,
    base: str | None = None,
    asking: backends.Asking | None = None,
) -> dict[str, Any]:
    """Run benchmarks on a model; write predictions and `summary.json`, which is returned, into a folder.

    An interrupted evaluation continues, and a folder that holds other benchmarks of the same model is added to.

    Args:
        model: The model.
        benchmarks: The benchmarks, as in a recipe's `evaluate`.
        seed: Seed of the benchmarks' samples.
        folder: The evaluation's folder.
        progress: Where to show progress; by default nowhere.
        base: The model that this one was made from, with which `drift` compares it.
        asking: How to ask, if not as by default.

    Raises:
        UserError: If the model, a benchmark or the folder is not usable; says why.
    """
    from needlework.analysis import check_base, measuring, refuse_weights
    from needlework.models.loading import fingerprint

    check_base(benchmarks, base)
    progress, folder, asking = progress or Silent(), Path(folder), asking or backends.Asking()
    if asking.backend != "hf":
        refuse_weights(benchmarks, asking.backend)
    if model.precision == "auto" and (saved := read_object(folder / "settings.json", "model")):
        # Settled when the evaluation began: one in two precisions would mean nothing.
        # A server's answers have none, and `run_benchmarks` refuses their folder.
        model = model.model_copy(update={"precision": saved.get("model", {}).get("precision", "auto")})
    model = _with_precision(model)
    settings: dict[str, Any] = {
        "model": model.model_dump(mode="json") | {"fingerprint": fingerprint(model.name), "backend": asking.backend},
        "benchmarks": asked(benchmarks),
        "seed": seed,
    }
    if benchmarks.drift:
        settings["benchmarks"]["drift"]["base"] = base

    def prepare() -> tuple[Backend, list[Benchmark | General]]:
        renderer = _renderer(model, progress)
        built: list[Benchmark | General] = [*build_benchmarks(benchmarks, seed, renderer)]
        built += build_general(benchmarks, seed)
        return backends.load(asking.backend, model, renderer), built

    options = backends.measuring(asking, model, progress.say)
    inside = measuring(benchmarks, seed, model, base) if asking.backend == "hf" else None
    summary = run_benchmarks(model.name, model.name, settings, prepare, folder, progress, inside=inside, **options)
    gc.collect()
    return summary


def finetune(recipe: Recipe, output: str | os.PathLike[str], progress: Progress | None = None) -> Path:
    """Finetune the recipe's model on its haystacks and return the folder of the result.

    An interrupted training continues. Where a launcher started several processes, they all call this; the first writes
    and shows progress.

    Args:
        recipe: The model, the haystacks and how to train.
        output: The run's folder.
        progress: Where to show progress; by default nowhere.

    Raises:
        UserError: If the recipe, the model or the folder is not usable; says why.
    """
    progress, output = (progress if processes.is_first() else None) or Silent(), Path(output)
    check_single(recipe, "finetune")
    check_task(recipe)
    with ExitStack() as held:
        # Another training here would change the recipe, and take these checkpoints for remains of a kill.
        processes.first(lambda: held.enter_context(locked(output)))
        return _finetune(recipe, output, progress)


def _finetune(recipe: Recipe, output: Path, progress: Progress) -> Path:
    from needlework import card

    folder = output / "train"
    recipe = processes.first(lambda: _settle(recipe, output))
    if (folder / "summary.json").exists():
        # A kill may have come before either.
        processes.first(lambda: card.begin(output))
        processes.first(lambda: shutil.rmtree(folder / "checkpoints", ignore_errors=True))
        return folder / "model"
    trackers.check(recipe.train.trackers)
    renderer = _renderer(recipe.model, progress)
    processes.first(lambda: check_training(recipe, renderer, progress))
    from needlework.models.loading import load_model
    from needlework.train.checkpoints import steps_done
    from needlework.train.held_out import HeldOut
    from needlework.train.metrics import note
    from needlework.train.samples import supervised
    from needlework.train.trainer import finetune as train

    data, others = training_data(recipe, renderer)
    check = recipe.train.check
    held_out = HeldOut(others, steps=check.steps, target=check.target) if check and others else None
    steps = recipe.train.steps(len(data))
    progress.say(f"Finetuning on {data}, {steps} steps")
    progress.say(f"  {supervised(renderer.pack(data[0]), renderer)}")
    # Under autocast the weights stay fp32, so that small updates are not rounded away. The trainer places them.
    model = load_model(recipe.model.name, trust_remote_code=recipe.model.trust_remote_code, place=False)
    with progress.bar("  train") as update:
        update(steps_done(folder / "checkpoints"), steps)

        def show(row: dict[str, Any]) -> None:
            update(row["step"], row["steps"], note(row))

        precision = cast("Precision", recipe.model.precision)  # settled by now
        target = train(
            model, renderer, data, recipe.train, folder, show, held_out, precision=precision, seed=recipe.seed
        )
    del model
    gc.collect()
    processes.first(lambda: card.begin(output))
    return target


def write_comparison(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *others: str | os.PathLike[str],
    mean: bool = False,
) -> dict[str, Any]:
    """Compare evaluations with the first; write `table.md`, `rows.csv` and `comparison.json`, and return the last.

    If the first two are those of the output's model and its base, the model's card is completed.

    Args:
        before: The folder of the evaluation to compare with.
        after: The folder of another.
        output: Where to write, such as the run's folder.
        others: Folders of further evaluations.
        mean: As in `needlework.compare`.

    Raises:
        DataError: As `needlework.compare` does.
    """
    from needlework import card
    from needlework.report.comparison import compare
    from needlework.report.runs import markdown, rows_csv

    # The report finds the predictions by these, wherever the folders are moved to together.
    folders, output = [os.path.relpath(each, output) for each in (before, after, *others)], Path(output)
    comparison = compare(before, after, *others, mean=mean) | {"folders": folders}
    write_text(output / "table.md", markdown(comparison))
    write_text(output / "rows.csv", rows_csv(comparison))
    write_json(output / "comparison.json", comparison)
    card.complete(output, Path(before), Path(after))
    return comparison


def report(output: Path, progress: Progress | None = None) -> Path:
    """Write the report of a run and return its path."""
    from needlework.report.page import write_report

    (progress or Silent()).say("Drawing the report")
    return write_report(output)


def _settle(recipe: Recipe, output: Path) -> Recipe:
    """Resolve what is left open, and write the recipe into the folder or check it against the one there."""
    from needlework.own_data import pin

    path = output / "recipe.yaml"
    if not path.exists() and (train := output / "train").is_dir() and any(train.iterdir()):
        raise RecipeError(
            f"{train} holds files that Needlework did not write, or that lost their recipe.yaml. A training would "
            f"replace them: give another --output."
        )
    # Before any stage has begun, a recipe with a mistake may be corrected in place.
    if path.exists() and any((output / stage).exists() for stage in ("before", "train", "after")):
        saved = recipes.load(path)
        recipe = pin(recipe, saved)
        if recipe.model.precision == "auto":
            model = recipe.model.model_copy(update={"precision": saved.model.precision})
            recipe = recipe.model_copy(update={"model": model})
        extended = saved.model_copy(update={"trainings": max(saved.trainings, recipe.trainings)})
        if found := difference(extended.model_dump(mode="json"), recipe.model_dump(mode="json")):
            raise RecipeError(
                f"{output} holds a run of another recipe: {found}. Give another --output, or delete the folder."
            )
        if recipe.trainings > saved.trainings:
            # They are added, also to a finished run; what speaks of fewer is made again.
            (output / "report.html").unlink(missing_ok=True)
            (output / "comparison.json").unlink(missing_ok=True)
            recipes.save(recipe, path)
        return recipe
    from needlework.environment import describe

    recipe = pin(recipe.model_copy(update={"model": _with_precision(recipe.model)}))
    recipes.save(recipe, path)
    write_json(output / "environment.json", describe())
    return recipe


def _with_precision(model: Model) -> Model:
    from needlework.models.loading import fastest_precision

    return model.model_copy(update={"precision": fastest_precision()}) if model.precision == "auto" else model


def _renderer(model: Model, progress: Progress) -> Renderer:
    """Return the renderer of a model that is loaded next, and say so where that takes long."""
    from needlework.models import embedded

    if notice := embedded.notice(model.name):
        progress.say(notice)
    return make_renderer(model)
