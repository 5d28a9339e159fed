"""Writing a dataset to files. An export is complete once its manifest exists, which is written last.

The folder of an export:

    data/train-00000-of-00003.jsonl …     the shards, or one file of all rows if the format wants that
    config.yaml                           any other files of the format
    manifest.json                         settings, row counts, sizes and checksums
    .export/                              until then: settings, markers of the shards written, partial files
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from needlework.dataset.formats.base import Format, Whole
from needlework.dataset.shards import WORK, Shards, find_manifest, is_whole, shard_size, write_file
from needlework.dataset.synthetic import SyntheticDataset
from needlework.dataset.workers import Workers, serial
from needlework.errors import DataError
from needlework.storage import difference, read_object, write_json

MANIFEST = "manifest.json"
SETTINGS = f"{WORK}/settings.json"


def export(
    data: SyntheticDataset,
    format: Format,
    folder: Path,
    settings: Mapping[str, Any],
    workers: Workers = serial,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write a dataset and its manifest, or complete what an earlier call began.

    Files left by an earlier call are first compared with their checksums. The bytes depend neither on the
    workers nor on interruptions.

    Args:
        data: The dataset.
        format: How to write it.
        folder: Folder to write to; empty, or begun with the same settings.
        settings: What the dataset was made from, for the manifest.
        workers: Make the shards.
        report: Called with the number of haystacks written and the total.

    Returns:
        The manifest.

    Raises:
        UserError: If the folder holds something else or a damaged file, or the format does not support the data.
    """
    format.check(data)
    shards = Shards(data, format, folder, shard_size(data))
    settings = {**settings, "haystacks_per_shard": shards.size}
    manifest = _open(folder, settings)
    files = manifest["files"] if manifest else {}
    known = {**shards.stored(), **files}
    present = _present(folder, known)
    if not manifest or not present.issuperset(files):
        todo = [number for number in range(len(shards)) if not present.issuperset(shards.names(number).values())]
        done = len(data) - sum(len(shards.indices(number)) for number in todo)
        report(done, len(data))
        for number, entries in workers(shards, todo):
            known |= entries
            done += len(shards.indices(number))
            report(done, len(data))
        manifest = _finish(shards, settings, known)
        write_json(folder / MANIFEST, manifest)
    shutil.rmtree(folder / WORK, ignore_errors=True)
    return manifest


def _open(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the manifest, if there is one; set the folder up, if nothing has been written to it yet.

    Raises:
        DataError: If the folder holds something else.
    """
    manifest = find_manifest(folder / MANIFEST)
    found = manifest["settings"] if manifest else read_object(folder / SETTINGS)
    # Mistakes in the settings may be fixed in place, as long as nothing was made from them.
    if _is_untouched(folder):
        write_json(folder / SETTINGS, settings)
    elif found is None:
        raise DataError(f"{folder} holds files that no {MANIFEST} explains. Give an empty or a new --output.")
    elif found != settings:
        raise DataError(
            f"{folder} holds a dataset of other settings: {difference(found, settings)}. Give another --output."
        )
    return manifest


def _is_untouched(folder: Path) -> bool:
    visible = folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
    return not visible and not any((folder / WORK).glob("[0-9]*"))


def _present(folder: Path, entries: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return which files are present and intact."""
    # Threads help, because hashing releases the GIL.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        whole = pool.map(lambda name: is_whole(folder / name, entries[name]), entries)
        return {name for name, each in zip(entries, whole, strict=True) if each}


def _finish(shards: Shards, settings: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Write the files that need all shards and return the manifest."""
    folder, format = shards.folder, shards.format
    names = [shards.names(number) for number in range(len(shards))]
    paths = [{extension: folder / name for extension, name in each.items()} for each in names]
    files: dict[str, Mapping[str, Any]] = {}
    if not format.joined:
        files = {name: known[name] for each in names for name in each.values()}
    for name, chunks in format.finish(Whole(shards.data, settings, paths)):
        files[name] = write_file(folder, name, chunks)
    rows = sum(known[each[format.extensions[0]]]["rows"] for each in names)
    return {"settings": settings, "haystacks": len(shards.data), "rows": rows, "files": files}
