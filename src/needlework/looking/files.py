"""The files of a finished export: its manifest, whether the files match their checksums, and their rows."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from needlework.dataset.encoded import IGNORED
from needlework.dataset.export import MANIFEST
from needlework.dataset.formats.megatron import CODES, HEADER
from needlework.dataset.shards import find_manifest, is_whole
from needlework.errors import DataError

MEGATRON = ("train.bin", "train.idx", "train_mask.bin", "train_mask.idx")
KINDS = {code: kind for kind, code in CODES.items()}


@dataclass(frozen=True, slots=True)
class Chat:
    """A row of text: the first user message, the first answer, and the length of the whole chat in characters."""

    content: bytes
    """The line of the file; rows with the same line are duplicates."""
    question: str
    answer: str
    length: int


@dataclass(frozen=True, slots=True)
class Ids:
    """A row of token ids."""

    content: bytes
    ids: npt.NDArray[np.integer[Any]]
    supervised: int
    """How many of them are trained on."""

    @property
    def length(self) -> int:
        return len(self.ids)


Row = Chat | Ids


def manifests(folder: Path) -> list[str]:
    """Return the names of a folder's manifests: an export's own, and those of the paper's configurations."""
    official = sorted(path.name for path in folder.glob("*_seed*.json"))
    # If there are none, return the usual name, so that the error names the file that is missing.
    return [MANIFEST, *official] if (folder / MANIFEST).exists() else official or [MANIFEST]


def read_manifest(folder: Path, name: str = MANIFEST) -> dict[str, Any]:
    """Read the manifest of a folder.

    Raises:
        DataError: If there is no finished export in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}.")
    manifest = find_manifest(folder / name)
    if manifest is None:
        raise DataError(
            f"{folder} holds no finished dataset: it has no {name}, which `needlework generate` writes last."
        )
    return manifest


def verify(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare every file with its checksum in the manifest.

    Raises:
        DataError: If one is missing or is not what was written; names it.
    """
    for name, entry in files.items():
        if not is_whole(folder / name, entry):
            raise DataError(f"{folder / name} is missing, but the manifest names it. Generate the dataset again.")


def read_rows(folder: Path, names: Iterable[str]) -> Iterator[Row]:
    """Yield the rows of an export in any format, in the order of its files.

    Raises:
        DataError: If none of the files holds rows.
    """
    ordered = list(names)
    if shards := [name for name in ordered if name.endswith(".parquet")]:
        return (row for name in shards for row in _parquet(folder / name))
    if shards := [name for name in ordered if name.endswith(".jsonl")]:
        return (row for name in shards for row in _jsonl(folder / name))
    if set(ordered) >= set(MEGATRON):
        return _megatron(*(folder / name for name in MEGATRON))
    raise DataError(f"{folder} has no rows that `needlework inspect` can read: its files are {', '.join(ordered)}.")


def _jsonl(path: Path) -> Iterator[Chat]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                chat = row["messages"] if "messages" in row else [*row["prompt"], *row["completion"]]
                said = {role: [each["content"] for each in chat if each["role"] == role] for role in ROLES}
                yield Chat(line, said["user"][0], said["assistant"][0], sum(len(each["content"]) for each in chat))
            except (ValueError, LookupError, TypeError):
                raise DataError(f"{path}, line {number}: not a chat of user and assistant.") from None


ROLES = ("user", "assistant")


def _parquet(path: Path) -> Iterator[Ids]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256, columns=["input_ids", "labels"]):
            for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
                values = ids.values.to_numpy()
                yield Ids(values.tobytes(), values, int((labels.values.to_numpy() != IGNORED).sum()))


def _megatron(ids: Path, index: Path, mask: Path, mask_index: Path) -> Iterator[Ids]:
    pairs = zip(_indexed(ids, index), _indexed(mask, mask_index), strict=True)
    return (Ids(values.tobytes(), values, int(kept.sum())) for values, kept in pairs)


def _indexed(path: Path, index: Path) -> Iterator[npt.NDArray[Any]]:
    """Yield the rows of a `.bin/.idx` pair."""
    with index.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        _, _, code, rows, _ = HEADER.unpack_from(view)
        lengths = np.frombuffer(view, np.int32, rows, HEADER.size).copy()
    values = np.memmap(path, KINDS[code], mode="r")
    end = 0
    for length in lengths.tolist():
        yield np.asarray(values[end : end + length])
        end += length
