"""The command line: thin, a recipe and the pipeline."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from needlework import cli_compare, cli_convert, cli_data, cli_evaluate, cli_harness, cli_hosted, cli_list, cli_plan
from needlework.errors import UserError
from needlework.visible import visible

if TYPE_CHECKING:
    from needlework.recipe import Recipe

app = typer.Typer(
    name="needlework",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name or a YAML file.")]
Data = Annotated[Path | None, typer.Option("--data", metavar="FILE", help="Train on your own haystacks instead.")]
Set = cli_data.Set
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", metavar="DIR", help="Folder for the results; default: runs/ and the name of RECIPE or of the data."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and what it takes, then stop.")]
Tflops = Annotated[
    float | None,
    typer.Option(min=0.001, max=1e6, help="With --dry-run: TFLOP/s of your GPU, to estimate the time."),
]

UNWRITABLE = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "EFBIG")}
UNUSABLE = {getattr(errno, name) for name in ("ENOTDIR", "EEXIST", "EISDIR", "ENOENT", "ENAMETOOLONG", "ELOOP")}
"""Errors of writing, and of a path that cannot be used even if it is only read. ENOENT also comes where a folder cannot
be made, as in /proc."""


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"needlework {version('needlework')}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Make language models use their long contexts, and prove it."""


@app.command()
def run(
    recipe: RecipeName = "smollm2-135m",
    data: Data = None,
    output: Output = None,
    set: Set = None,
    dry_run: DryRun = False,
    tflops: Tflops = None,
) -> None:
    """Evaluate, finetune, evaluate again, compare and report."""
    from needlework import pipeline
    from needlework.progress import Terminal

    loaded, folder = _begin(recipe, data, output, set, dry_run, tflops)
    cli_compare.print_comparison(pipeline.run(loaded, folder, Terminal()))
    print(f"Report: {folder / 'report.html'}\nNext, whether anything was lost: needlework gate {folder}")


@app.command()
def finetune(
    recipe: RecipeName = "smollm2-135m",
    data: Data = None,
    output: Output = None,
    set: Set = None,
    dry_run: DryRun = False,
    tflops: Tflops = None,
) -> None:
    """Finetune the recipe's model on its haystacks, or on your own.

    torchrun and accelerate launch may start it in several processes.
    """
    from needlework import pipeline, processes
    from needlework.progress import Terminal

    loaded, folder = _begin(recipe, data, output, set, dry_run, tflops, "finetune")
    model = pipeline.finetune(loaded, folder, Terminal())
    if processes.is_first():
        measured = f"--recipe {folder / 'recipe.yaml'} --output {folder / 'after'}"
        print(f"Model: {model}\nNext: needlework evaluate {model} {measured}")


app.command()(cli_evaluate.evaluate)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Write the report of a run again."""
    from needlework import pipeline
    from needlework.progress import Terminal

    print(f"Report: {pipeline.report(run, Terminal())}")


@app.command()
def generate(
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for the files.")],
    source: Annotated[
        str | None, typer.Argument(metavar="TASK|RECIPE", help="A task's name, a recipe's, or a YAML file.")
    ] = None,
    official: Annotated[
        Path | None,
        typer.Option("--official", metavar="FILE", help="Use a configuration file of the paper's code instead."),
    ] = None,
    model: cli_data.Tokenizer = None,
    max_tokens: cli_data.MaxTokens = None,
    num_haystacks: Annotated[int | None, typer.Option(help="Number of haystacks.")] = None,
    needles: cli_data.Needles = None,
    seed: cli_data.Seed = None,
    format: Annotated[str, typer.Option(help="Format of the rows; see `needlework list formats`.")] = "messages",
    conversation: Annotated[
        bool, typer.Option("--conversation", help="One row per haystack, all needles in turn.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes on this machine.")] = 1,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Generate on this Ray cluster instead.")] = None,
    set: Set = None,
) -> None:
    """Write synthetic haystacks as training data."""
    if official:
        others = (source, max_tokens, num_haystacks, needles, ray, set)
        if any(each is not None for each in others) or format != "messages" or conversation or workers > 1:
            raise UserError("--official takes --model, --seed and --output only: its FILE says the rest.")
        _generate_official(official, output, model, seed)
        return
    if source is None:
        raise UserError("name a TASK or a RECIPE, or give --official FILE.")
    from needlework import generation
    from needlework.dataset.formats import make_format
    from needlework.progress import Terminal

    make_format(format)
    values = {
        "model.name": model,
        "data.max_tokens": max_tokens,
        "data.haystacks": num_haystacks,
        "data.needles": needles,
        "seed": seed,
    }
    loaded = cli_data.synthetic(source, values, set)
    _interruptible()
    options: dict[str, Any] = {"format": format, "conversation": conversation, "workers": workers, "ray": ray}
    manifest = generation.generate(loaded, output, Terminal(), **options)
    print(f"{manifest['rows']} rows: {output}\nNext: needlework inspect {output}")


app.command()(cli_compare.compare)
app.command()(cli_compare.gate)
app.command()(cli_data.show)
app.command()(cli_data.inspect)
app.command(name="tasks-dir")(cli_harness.tasks_dir)
app.add_typer(cli_convert.app, name="convert")
app.add_typer(cli_hosted.app, name="hosted")


app.command(name="list")(cli_list.list_)


def _generate_official(path: Path, output: Path, model: str | None, seed: int | None) -> None:
    from needlework import official
    from needlework.progress import Terminal
    from needlework.recipe import Model

    _interruptible()
    manifest = official.generate(path, output, seed=seed or 0, model=model or Model().name, progress=Terminal())
    print(f"{manifest['rows']} rows: {output}")


def _begin(
    recipe: str,
    data: Path | None,
    output: Path | None,
    set: list[str] | None,
    dry_run: bool,
    tflops: float | None,
    single: str | None = None,
) -> tuple[Recipe, Path]:
    """Return the recipe and the folder of a run; a dry run ends here, with its plan printed.

    A command that does one training is named by `single`.
    """
    from needlework import own_data, preparation
    from needlework import recipe as recipes

    if tflops and not dry_run:
        raise UserError("--tflops goes with --dry-run, whose estimate it is for.")
    loaded = cli_data.checked(recipes.load(recipe, [*(own_data.overrides(data) if data else []), *(set or [])]))
    if single:
        preparation.check_single(loaded, single)
    if dry_run:
        cli_plan.print_plan(loaded, tflops)
        raise typer.Exit
    _interruptible()
    return loaded, output or cli_data.default_folder(data.stem if data else recipe)


def _interruptible() -> None:
    from needlework.interrupt import exit_on_interrupt

    exit_on_interrupt(cli_evaluate.CONTINUE)


QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
"""Variables that keep other libraries' notes and bars from between ours; the user's own values win."""


def main() -> None:
    """Run the command line; an error that the user can fix is one sentence and exit code 2, a fault of ours 70."""
    try:
        _main()
    except Exception:
        traceback.print_exc()
        # Python's own 1 is what `gate` says of harm.
        sys.exit(os.EX_SOFTWARE)


def _main() -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # PEFT asks a model of transformers by an old name.
    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
    for stream in (sys.stdout, sys.stderr):
        # A terminal without UTF-8 shows what it can.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # An empty path would mean the current folder, but mostly comes from a shell variable that is not set.
    if empty := [each for each in sys.argv[1:] if not each or re.fullmatch(r"--[\w-]+=", each)]:
        _fail(f"the argument {empty[0]!r} is empty.")
    try:
        app()
    except UserError as error:
        _fail(str(error))
    except RuntimeError as error:
        # A GPU's by its name, because importing torch takes seconds; of a CPU it has no class of its own.
        if type(error).__name__ != "OutOfMemoryError" and "allocate memory" not in str(error):
            raise
        _fail(
            f"memory ran out: {str(error).strip().split('. ')[0]}. Training takes less with "
            "--set train.gradient_checkpointing=true and with smaller data.max_tokens or data.needles, evaluation "
            "with smaller lengths of its benchmarks."
        )
    except OSError as error:
        if error.errno not in UNWRITABLE | UNUSABLE:
            raise
        place = f" {error.filename}" if error.filename else ""
        if error.errno in UNUSABLE:
            _fail(f"cannot use{place}: {error.strerror}. Give another path.")
        _fail(f"cannot write{place}: {error.strerror}. Make room or give another --output.")


def _fail(message: str) -> NoReturn:
    # It may quote a server or a file, whose control characters a terminal would obey.
    print(f"needlework: {visible(message)}", file=sys.stderr)
    sys.exit(2)
