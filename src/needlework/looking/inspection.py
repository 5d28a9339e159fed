"""What a finished export holds: counts, lengths, depths of the gold items, duplicates, fill and supervised share.

Counts, checksums and duplicates come from the files. Files of chats record neither depths nor token counts. But a
dataset is a pure function of the settings in its manifest, so some of its haystacks are regenerated; they must match
their rows in the files, or nothing is concluded from them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from needlework.dataset.encoded import IGNORED, Encoded
from needlework.dataset.export import MANIFEST
from needlework.errors import DataError, UserError
from needlework.looking.files import Chat, Ids, Row, read_manifest, read_rows, verify

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from needlework.haystack import Haystack

SAMPLE = 800
"""Rows to regenerate, from evenly spaced haystacks: enough to know a share of 10 % to within about one point."""
BINS = 10
WIDTH = 40

Numbers = npt.NDArray[np.int64]


class Regenerated(Protocol):
    """A dataset regenerated from the settings in its manifest."""

    def __getitem__(self, index: int, /) -> Haystack: ...

    def encoded(self, index: int) -> list[Encoded]: ...


@dataclass(slots=True)
class Sample:
    """What is known from the regenerated haystacks."""

    haystacks: int = 0
    tokens: list[int] = field(default_factory=list)
    """The tokens of each regenerated row."""
    supervised: int = 0
    depths: list[float] = field(default_factory=list)
    """The depth of each needle's gold item: 0 is the first item, 1 the last."""
    no_gold: int = 0
    """Needles that no item answers."""
    fault: str = ""
    """Why nothing could be regenerated."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an export holds."""

    folder: Path
    settings: Mapping[str, Any]
    """The settings that the manifest says it was made from."""
    files: int
    haystacks: int
    lengths: Numbers
    """The lengths of all rows, shape [rows]: in tokens if the format holds them, else in characters."""
    supervised: int | None
    """Tokens that are trained on, where the format holds tokens."""
    duplicates: int
    """Rows identical to an earlier one."""
    sample: Sample

    @property
    def tokens(self) -> Numbers:
        """Tokens of each row, or of each regenerated row."""
        return self.lengths if self.supervised is not None else np.array(self.sample.tokens, dtype=np.int64)

    @property
    def max_tokens(self) -> int:
        """The token budget of a row."""
        return _described(self.settings)[1]

    @property
    def fill(self) -> float:
        """The mean number of tokens, as a fraction of `max_tokens`."""
        return float(self.tokens.mean() / self.max_tokens)

    @property
    def supervised_share(self) -> float:
        """The share of tokens that are trained on."""
        supervised = self.sample.supervised if self.supervised is None else self.supervised
        return float(supervised / self.tokens.sum())


def inspect(
    folder: Path,
    dataset: Callable[[Mapping[str, Any]], Regenerated],
    report: Callable[[int, int], None] = lambda done, total: None,
    name: str = MANIFEST,
) -> Inspection:
    """Read a finished export.

    Args:
        folder: The export's folder.
        dataset: Regenerates the dataset from a manifest's settings.
        report: Called with the number of rows read and regenerated so far, and the total.
        name: File name of the manifest.

    Raises:
        DataError: If there is no finished export, or a file is missing, damaged or cannot be read.
    """
    manifest = read_manifest(folder, name)
    _check(folder / name, manifest["settings"])
    files, haystacks, total = manifest["files"], int(manifest["haystacks"]), int(manifest["rows"])
    verify(folder, files)
    per_haystack = max(1, total // max(1, haystacks))
    chosen = np.unique(np.linspace(0, haystacks - 1, max(1, SAMPLE // per_haystack)).round().astype(np.int64)).tolist()
    wanted = {index * per_haystack + offset for index in chosen for offset in range(per_haystack)}

    kept: dict[int, Row] = {}
    lengths, digests, supervised = [], [], 0
    for number, row in enumerate(read_rows(folder, files)):
        lengths.append(row.length)
        digests.append(int.from_bytes(hashlib.blake2b(row.content, digest_size=8).digest(), "little"))
        supervised += row.supervised if isinstance(row, Ids) else 0
        if number in wanted:
            kept[number] = row
        if number % 100 == 0:
            report(number, total + len(wanted))
    if not lengths or len(lengths) != total:
        raise DataError(f"{folder} has {len(lengths):,} rows, but its manifest says {total:,}. Generate it again.")
    try:
        data = dataset(manifest["settings"])
        sample = _regenerate(data, chosen, per_haystack, kept, lambda done: report(total + done, total + len(wanted)))
    except UserError as error:
        sample = Sample(fault=str(error))
    return Inspection(
        folder=folder,
        settings=manifest["settings"],
        files=len(files),
        haystacks=haystacks,
        lengths=np.array(lengths, dtype=np.int64),
        supervised=None if isinstance(next(iter(kept.values())), Chat) else supervised,
        duplicates=len(digests) - len(np.unique(np.array(digests, dtype=np.uint64))),
        sample=sample,
    )


def _regenerate(
    data: Regenerated,
    indices: list[int],
    per_haystack: int,
    kept: Mapping[int, Row],
    report: Callable[[int], None],
) -> Sample:
    """Regenerate haystacks and compare them with their rows in the files."""
    sample = Sample()
    for index in indices:
        haystack, rows = data[index], data.encoded(index)
        if len(rows) != per_haystack:
            return Sample(
                fault=f"haystack {index} has {per_haystack} rows there, but {len(rows)} when it is regenerated."
            )
        for number, row in enumerate(rows, start=index * per_haystack):
            if not _agree(kept[number], row, haystack, number % per_haystack):
                return Sample(
                    fault=f"row {number + 1:,} is not what the manifest's settings make here, with this version of "
                    f"Needlework and this tokenizer."
                )
            sample.tokens.append(len(row.input_ids))
            sample.supervised += int((row.labels != IGNORED).sum())
        last = max(1, len(haystack.items) - 1)
        sample.depths += [each.position / last for each in haystack.needles if each.position >= 0]
        sample.no_gold += sum(each.position < 0 for each in haystack.needles)
        sample.haystacks += 1
        report(len(sample.tokens))
    return sample


def _agree(found: Row, made: Encoded, haystack: Haystack, number: int) -> bool:
    """Return whether a row matches the regenerated one: its ids, or its first question and answer."""
    if isinstance(found, Ids):
        return np.array_equal(found.ids, made.input_ids)
    needle = haystack.needles[number]
    return (found.question, found.answer) == (haystack.message(needle), needle.answer)


def table(inspection: Inspection) -> Group:
    """Return what an export holds as a page for `rich`, 80 columns wide."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    settings, sample = inspection.settings, inspection.sample
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    title = f"{_described(settings)[0]} in {inspection.folder}"
    for name, value in _figures(inspection).items():
        grid.add_row(name, value)
    parts: list[Text | Table] = [Text(title, style="bold"), Text(), grid, Text()]
    if sample.fault:
        return Group(*parts, Text(f"Depth is not known: {sample.fault}", style="yellow"))
    heading = f"Depth of the gold item, 0 % the first item ({len(sample.depths):,} needles)"
    parts += [Text(heading, style="bold"), Text(), _histogram(sample.depths)]
    if sample.no_gold:
        parts.append(Text(f"{sample.no_gold:,} more needles that no item answers"))
    if inspection.supervised is None:
        what = "Depth, tokens, fill and supervised share"
    else:
        what = "Depth"
    note = f"{what}: from {sample.haystacks:,} haystacks, evenly spaced and regenerated from the manifest's settings."
    return Group(*parts, Text(), Text(note, style="dim"))


def _described(settings: Mapping[str, Any]) -> tuple[str, int]:
    """Return a description of the dataset, and its token budget."""
    if official := settings.get("official"):
        name, max_tokens = official["alias"], official["task_kwargs"]["max_token"]
    else:
        name, max_tokens = settings["data"]["task"], settings["data"]["max_tokens"]
    return f"{name}, seed {settings['seed']}, as {settings['format']}", max_tokens


def _check(manifest: Path, settings: Mapping[str, Any]) -> None:
    """Check that the settings have the fields and types that `needlework generate` writes.

    Raises:
        DataError: If one is missing or of another type.
    """
    try:
        _, max_tokens = _described(settings)
        fault = "" if isinstance(max_tokens, int) and settings["model"]["name"] else "have no token budget or no model"
    except KeyError as error:
        fault = f"lack {error}"
    except TypeError:
        fault = "hold values of other kinds than were written"
    if fault:
        raise DataError(f"{manifest} is damaged: its settings {fault}. Generate the dataset again.")


def _figures(inspection: Inspection) -> dict[str, str]:
    lengths, tokens = inspection.lengths, inspection.tokens
    unit = "characters" if inspection.supervised is None else "tokens"
    figures = {
        "checksums": f"all right ({inspection.files:,} file{'s' * (inspection.files != 1)})",
        "haystacks": f"{inspection.haystacks:,}",
        "rows": f"{len(lengths):,}",
        "duplicates": f"{inspection.duplicates:,} rows the same as an earlier one",
        unit: f"{lengths.sum():,}; a row {_spread(lengths)}",
    }
    if len(tokens):
        if unit == "characters":
            total = f"{tokens.sum():,}"
            if len(tokens) < len(lengths):
                total = f"about {round(tokens.mean() * len(lengths), -3):,.0f}"
            figures["tokens"] = f"{total}; a row {_spread(tokens)}"
        figures["fill"] = f"{100 * inspection.fill:.1f} % of {inspection.max_tokens:,} tokens on average"
        figures["supervised"] = f"{100 * inspection.supervised_share:.2f} % of the tokens"
    return figures


def _spread(values: Numbers) -> str:
    return f"{values.min():,} to {values.max():,}, median {np.median(values):,.0f}"


def _histogram(depths: list[float]) -> Table:
    """Return a bar for each tenth of the depth range."""
    from rich.table import Table

    # Not by `np.histogram`, whose edges such as 0.3 are rounded to the wrong side of some depths.
    tenths = [min(BINS - 1, math.floor(round(BINS * depth, 9))) for depth in depths]
    counts, edges = np.bincount(tenths, minlength=BINS), np.linspace(0, 1, BINS + 1)
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        grid.add_column(justify="right", no_wrap=True)
    grid.add_column(style="cyan", no_wrap=True)
    for count, low, high in zip(counts.tolist(), edges, edges[1:], strict=False):
        share = count / max(1, len(depths))
        bar = "█" * round(WIDTH * count / max(1, counts.max()))
        grid.add_row(f"{100 * low:.0f} to {100 * high:.0f} %", f"{100 * share:.1f} %", bar)
    return grid
