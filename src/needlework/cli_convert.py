"""The commands that convert files of other formats to haystacks."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from needlework.errors import UserError

if TYPE_CHECKING:
    from needlework.convert import Converted

app = typer.Typer(help="Convert a file of another format to haystacks.", no_args_is_help=True)

Output = Annotated[Path, typer.Option("--output", metavar="FILE", help="File for the haystacks.")]


@app.command()
def squad(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="SQuAD's JSON, or JSONL with a question per line.")],
    output: Output,
) -> None:
    """Convert questions: each context becomes a haystack with all its questions."""
    from needlework.convert import from_squad

    converted = from_squad(file)
    _write(converted, file, output)
    if converted.unanswered:
        print(f"Left out: {converted.unanswered:,} questions without an answer.")


@app.command()
def messages(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL with a chat of user and assistant per line.")],
    output: Output,
) -> None:
    """Convert chats: those that begin with the same text become one haystack."""
    from needlework.convert import from_messages

    converted = from_messages(file)
    _write(converted, file, output)
    if converted.system is not None:
        setting = shlex.quote(f"model.system={json.dumps(converted.system)}")
        print(f"All have one system message; train them with --set {setting}")


def _write(converted: Converted, source: Path, output: Path) -> None:
    from needlework.haystack import write

    # What a link leads to is written, not the link.
    target = output.resolve()
    if target.exists() and not target.is_file():
        kind = "a folder" if target.is_dir() else "a device or a pipe"
        raise UserError(f"--output {output} is {kind}. Give the name of a file.")
    if target.exists() and target.samefile(source):
        raise UserError(f"--output {output} is the file that is read. Give another.")
    write(converted.haystacks, target)
    needles = sum(len(haystack.needles) for haystack in converted.haystacks)
    print(f"{len(converted.haystacks):,} haystacks with {needles:,} needles: {output}")
