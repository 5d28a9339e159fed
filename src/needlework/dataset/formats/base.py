"""What an export format is: how haystacks become shards, and what is written once all shards exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needlework.dataset.synthetic import SyntheticDataset

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Shard:
    """Some haystacks as a format writes them; depends only on the dataset and their indices."""

    rows: int
    contents: Mapping[str, bytes | memoryview]
    """By file extension."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A dataset whose shards are all written."""

    data: SyntheticDataset
    settings: Mapping[str, Any]
    """What the manifest says the dataset was made from."""
    shards: Sequence[Mapping[str, Path]]
    """The files of each shard by extension, in order."""

    def joined(self, extension: str) -> Iterator[bytes]:
        """Yield the contents of all shards' files with this extension, one after the other."""
        for shard in self.shards:
            with shard[extension].open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk


Files = Iterable[tuple[str, Iterable[bytes]]]
"""Names and contents of files, written one after the other."""


def _nothing(whole: Whole) -> Files:
    return ()


def _anything(data: SyntheticDataset) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write a dataset."""

    summary: str
    """One line for `needlework list formats`."""
    extensions: tuple[str, ...]
    """Extensions of a shard's files."""
    write: Callable[[SyntheticDataset, range], Shard]
    """Turns the haystacks of a range of indices into a shard."""
    finish: Callable[[Whole], Files] = _nothing
    """Makes the files that need all shards: a trainer's configuration, or the one file of all rows."""
    joined: bool = False
    """Whether the shards are only intermediate parts of what `finish` makes, deleted once that is written."""
    configures: bool = False
    """Whether `finish` makes a trainer's configuration from the recipe's training settings."""
    check: Callable[[SyntheticDataset], None] = _anything
    """Rejects, before anything is written, data that the format's consumer would not accept."""
