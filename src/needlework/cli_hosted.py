"""The commands that finetune and evaluate models at a hosting provider."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from needlework.cli_compare import print_comparison
from needlework.cli_data import Set, checked, default_folder
from needlework.errors import UserError

if TYPE_CHECKING:
    from needlework.hosted import Confirm

app = typer.Typer(
    help="Finetune and evaluate at a host: OpenAI, Azure, Together. Keys: OPENAI_API_KEY, TOGETHER_API_KEY.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before spending.")]

WATCHING = "Stopped watching. The job goes on at the host; the same command watches it again."
AGAIN = "Stopped. The same command continues where this one stopped, and sends nothing twice."


@app.command()
def submit(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name or a YAML file.")],
    price: Annotated[
        float, typer.Option(min=0, max=1e6, help="Your host's price in dollars per million training tokens.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Folder of the run; default: runs/RECIPE.")
    ] = None,
    host: Annotated[str, typer.Option(help="The API: openai, which Azure and others share, or together.")] = "openai",
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Its address, if not the host's own.")] = None,
    conversation: Annotated[
        bool,
        typer.Option("--conversation", help="One chat per haystack: pays for its context once."),
    ] = False,
    yes: Yes = False,
    set: Set = None,
) -> None:
    """Generate training data, show what finetuning costs, ask, and submit the job."""
    from needlework import hosted
    from needlework import recipe as recipes
    from needlework.interrupt import exit_on_interrupt
    from needlework.progress import Terminal

    loaded = checked(recipes.load(recipe, set or ()))
    folder = output or default_folder(recipe)
    exit_on_interrupt(AGAIN)
    offer = hosted.Offer(host, base_url, price, conversation)
    job = hosted.submit(loaded, folder, offer, _confirm(yes), Terminal())
    print(f"Job: {job.id}, {job.status}\nFollow it: needlework hosted wait {folder}")


@app.command()
def status(run: Run) -> None:
    """Print the status of the job."""
    from needlework import hosted
    from needlework.interrupt import exit_on_interrupt

    exit_on_interrupt("Stopped.")
    job = hosted.status(run)
    facts = [f"model {job.model}" if job.model else "", f"{job.tokens:,} tokens" if job.tokens else "", job.error]
    print(", ".join([f"Job: {job.id}, {job.status}", *filter(None, facts)]))


@app.command()
def wait(run: Run) -> None:
    """Follow the job until it ends."""
    from needlework import hosted
    from needlework.interrupt import exit_on_interrupt
    from needlework.progress import Terminal

    exit_on_interrupt(WATCHING)
    print(f"Model: {hosted.wait(run, Terminal())}\nMeasure it: needlework hosted evaluate {run} after")


@app.command()
def cancel(run: Run) -> None:
    """Cancel the job."""
    from needlework import hosted
    from needlework.interrupt import exit_on_interrupt

    exit_on_interrupt(f"Stopped. See whether the job was cancelled: needlework hosted status {run}")
    job = hosted.cancel(run)
    print(f"Job: {job.id}, {job.status}")


@app.command()
def evaluate(
    run: Run,
    side: Annotated[str, typer.Argument(help="before: the base model; after: the finetuned one.")],
    model: Annotated[str | None, typer.Option(help="Name under which it is served, if another.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Concurrent requests.")] = 8,
    skip_too_long: Annotated[
        bool, typer.Option("--skip-too-long", help="Leave out prompts beyond the model's context, and count them.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Evaluate the base or the finetuned model; once both are there, compare them."""
    from needlework import hosted, pipeline
    from needlework.evaluation_folder import DONE
    from needlework.interrupt import exit_on_interrupt
    from needlework.progress import Terminal

    if side not in get_args(hosted.Side):
        raise UserError(f"there is no side {side!r}. Known: {', '.join(get_args(hosted.Side))}.")
    exit_on_interrupt(AGAIN)
    progress = Terminal()
    asking = {"model": model, "concurrency": concurrency, "skip_too_long": skip_too_long}
    hosted.evaluate(run, side, _confirm(yes), progress, **asking)  # type: ignore[arg-type]
    print(f"Answers: {run / side}")
    if all((run / each / DONE).exists() for each in get_args(hosted.Side)):
        print_comparison(pipeline.write_comparison(run / "before", run / "after", run))
        print(f"Report: {pipeline.report(run, progress)}")


def _confirm(yes: bool) -> Confirm:
    def confirm(question: str) -> None:
        if yes:
            print(question, "Yes.", file=sys.stderr)
        elif not sys.stdin.isatty():
            raise UserError(f"{question} Nothing was sent: add --yes to send it.")
        elif not typer.confirm(question, err=True):
            raise UserError("nothing was sent.")

    return confirm
