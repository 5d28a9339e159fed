"""The commands that make a file of haystacks from one of another form."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from needlework.errors import UserError

if TYPE_CHECKING:
    from needlework.convert import Converted

app = typer.Typer(help="Make a file of haystacks from one of another form.", no_args_is_help=True)

Output = Annotated[Path, typer.Option("--output", metavar="FILE", help="The file of haystacks.")]


@app.command()
def squad(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON in SQuAD's form, or JSONL, a question a line.")],
    output: Output,
) -> None:
    """Make each context a haystack, with all its questions."""
    from needlework.convert import from_squad

    converted = from_squad(file)
    _write(converted, file, output)
    if converted.unanswered:
        print(f"Left out: {converted.unanswered:,} questions without an answer.")


@app.command()
def messages(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL, a chat of user and assistant a line.")],
    output: Output,
) -> None:
    """Make chats that begin with the same text one haystack."""
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
