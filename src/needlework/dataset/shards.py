"""The shards of an export: what each holds, and how it is written to disk whole or not at all.

A shard is a pure function of the dataset and its number, so any process on any machine may make it. It is
written under a temporary name, renamed, and recorded with its checksum in a marker. Files are not flushed to
disk: a power cut may damage a file, but never unnoticed, since existing files are compared with their checksums
before an export continues.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from needlework.dataset.formats.base import Format, Shard
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import DataError
from needlework.storage import read_object, write_chunks, write_json

WORK = ".export"
"""Subfolder of the dataset's folder for what only an unfinished export needs."""

SHARD_TOKENS = 1 << 22
"""Most tokens in a shard, approximately: 16 MiB of ids, so that memory does not grow with the dataset."""
SHARD_HAYSTACKS = 1024
"""Most haystacks in a shard, so that there are enough shards to distribute and to show progress."""


class Entry(TypedDict):
    """What is recorded about a file."""

    bytes: int
    sha256: str


class ShardEntry(Entry):
    """What is recorded about a file of a shard."""

    rows: int


Entries = dict[str, ShardEntry]
"""By the file's path relative to the dataset's folder."""


def shard_size(data: SyntheticDataset) -> int:
    """Return how many haystacks a shard holds, which depends on the dataset alone and not on the workers."""
    rows = 1 if data.renderer.conversation else data.num_needles
    return max(1, min(SHARD_HAYSTACKS, SHARD_TOKENS // (data.max_tokens * rows)))


@dataclass(frozen=True, slots=True)
class Shards:
    """The shards of a dataset in a folder.

    Args:
        data: The dataset.
        format: Format to write it in.
        folder: Folder of the dataset.
        size: Haystacks in each shard; the last one may hold fewer.
    """

    data: SyntheticDataset
    format: Format
    folder: Path
    size: int

    def __len__(self) -> int:
        return -(-len(self.data) // self.size)

    def indices(self, number: int) -> range:
        """Return the indices of a shard's haystacks."""
        return range(number * self.size, min(len(self.data), (number + 1) * self.size))

    def names(self, number: int) -> dict[str, str]:
        """Return the paths of a shard's files relative to the folder, by extension."""
        stem = f"{WORK}/{number:05}" if self.format.joined else f"data/train-{number:05}-of-{len(self):05}"
        return {extension: f"{stem}.{extension}" for extension in self.format.extensions}

    def make(self, number: int) -> Shard:
        """Make a shard."""
        return self.format.write(self.data, self.indices(number))

    def store(self, number: int, shard: Shard) -> Entries:
        """Write a shard's files and then its marker."""
        entries: Entries = {}
        for extension, name in self.names(number).items():
            entry = write_file(self.folder, name, [shard.contents[extension]])
            entries[name] = {**entry, "rows": shard.rows}
        write_json(self._marker(number), entries)
        return entries

    def stored(self) -> Entries:
        """Return what the markers record."""
        entries: Entries = {}
        for number in range(len(self)):
            entries |= read_object(self._marker(number)) or {}
        return entries

    def _marker(self, number: int) -> Path:
        return self.folder / WORK / f"{number:05}.json"


def write_file(folder: Path, name: str, chunks: Iterable[bytes | memoryview]) -> Entry:
    """Write a file under a temporary name, then rename it; return its size and checksum."""
    digest, size = hashlib.sha256(), 0

    def counted() -> Iterable[bytes | memoryview]:
        nonlocal size
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            yield chunk

    write_chunks(folder / name, counted(), folder / WORK / f"{Path(name).name}.tmp")
    return {"bytes": size, "sha256": digest.hexdigest()}


def find_manifest(path: Path) -> dict[str, Any] | None:
    """Return the contents of a manifest; None if there is none.

    Raises:
        DataError: If it is damaged, or an unrelated file of that name.
    """
    manifest = read_object(path)
    kinds = {"settings": dict, "haystacks": int, "rows": int, "files": dict}
    if manifest is None:
        return None
    if _has(manifest, kinds) and all(
        _has(entry, {"bytes": int, "sha256": str}) for entry in manifest["files"].values()
    ):
        return manifest
    raise DataError(
        f"{path} is not the manifest of a dataset: it lacks settings, haystacks, rows or files, or they are damaged. "
        f"Give another folder."
    )


def _has(value: object, kinds: Mapping[str, type]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in kinds.items())


def is_whole(path: Path, entry: Mapping[str, object]) -> bool:
    """Return whether a file exists just as it was written.

    Raises:
        DataError: If it exists, but differs from what was written.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size == entry["bytes"] and hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"]:
                return True
    except FileNotFoundError:
        return False
    raise DataError(
        f"{path} is damaged: it has {size:,} bytes and not the checksum of the {entry['bytes']:,} that were written. "
        f"Delete it, and the same `needlework generate` writes it again."
    )
