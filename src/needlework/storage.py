"""Files, written whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from needlework.errors import DataError, UserError


def cache_folder() -> Path:
    """Return the folder of downloads, kept answers and the unpacked model: Needlework's in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "needlework"


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name, then give it its own."""
    write_chunks(path, [text.encode()])


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def flush(path: Path) -> None:
    """Wait until a file and its name are on the disk."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from working in a folder meanwhile; the lock ends with the process.

    Raises:
        UserError: If another is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is at work in {folder}. Wait for it, or give another --output.") from None
        except OSError:
            # Some network disks have no locks.
            pass
        yield
    finally:
        os.close(descriptor)


def read_object(path: Path, *objects: str) -> dict[str, Any] | None:
    """Return the object of JSON in a file; None if there is no file.

    Args:
        path: The file.
        objects: Keys that hold objects themselves, where they are there.

    Raises:
        DataError: If it is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(isinstance(value.get(key, {}), dict) for key in objects):
        raise DataError(f"{path} is damaged: it is not a JSON object of ours. Give another folder, or delete that one.")
    return value


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object for `json.loads(…, object_pairs_hook=unique_keys)`, which otherwise keeps the last of equal keys.

    Raises:
        DataError: If a key occurs twice; names it.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise DataError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return value


def checksum(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal digits.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        # A path that holds a null byte is none.
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from None


def difference(saved: Any, given: Any, path: str = "") -> str:
    """Say where two values of JSON first differ; nothing where they agree."""
    if isinstance(saved, dict) and isinstance(given, dict):
        for key in sorted(saved.keys() | given.keys()):
            if found := difference(saved.get(key), given.get(key), f"{path}.{key}".lstrip(".")):
                return found
        return ""
    return "" if saved == given else f"{path} is {saved!r} there and {given!r} here"


def write_chunks(path: Path, chunks: Iterable[bytes | memoryview], temporary: Path | None = None) -> None:
    """Write a file of several pieces, whole or not at all.

    Args:
        path: The file; its folders are made.
        chunks: Its content.
        temporary: The name it has until it is whole, on the same disk; by default beside it.

    Raises:
        OSError: If the disk does not take it; names the file. What was written of it is removed.
    """
    temporary = temporary or path.with_name(path.name + ".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        temporary.replace(path)
    except BaseException as error:
        # A half-written file would take up room on a disk that may be full.
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # The error of a failed write does not name the file.
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
