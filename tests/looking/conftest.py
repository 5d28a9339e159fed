"""Finished exports of every kind of file, written by hand."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from needlework.dataset.encoded import IGNORED, Encoded
from needlework.dataset.synthetic import SyntheticDataset
from needlework.models.chat import Renderer
from needlework.tasks import make_task

HAYSTACKS, NEEDLES, MAX_TOKENS = 6, 2, 500
SETTINGS = {
    "format": "made here",
    "seed": 0,
    "model": {"name": "made here"},
    "data": {"task": "simple_dict", "max_tokens": MAX_TOKENS},
}

Write = Callable[[SyntheticDataset, Path], None]


@pytest.fixture
def data(renderer: Renderer) -> SyntheticDataset:
    return SyntheticDataset(make_task("simple_dict"), HAYSTACKS, NEEDLES, MAX_TOKENS, renderer)


def chats(data: SyntheticDataset) -> list[list[dict[str, str]]]:
    return [
        [{"role": "user", "content": haystack.message(needle)}, {"role": "assistant", "content": needle.answer}]
        for haystack in data
        for needle in haystack.needles
    ]


def messages(data: SyntheticDataset, folder: Path) -> None:
    """Write two shards."""
    lines = [json.dumps({"messages": chat}) for chat in chats(data)]
    (folder / "data").mkdir()
    for number, part in enumerate((lines[:5], lines[5:])):
        (folder / f"data/train-{number:05}-of-00002.jsonl").write_text("\n".join(part) + "\n")


def trl(data: SyntheticDataset, folder: Path) -> None:
    lines = [json.dumps({"prompt": chat[:-1], "completion": chat[-1:]}) + "\n" for chat in chats(data)]
    (folder / "train.jsonl").write_text("".join(lines))


def encoded(data: SyntheticDataset) -> list[Encoded]:
    return [row for index in range(len(data)) for row in data.encoded(index)]


def tokens(data: SyntheticDataset, folder: Path) -> None:
    rows = encoded(data)
    columns = {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
    pq.write_table(pa.table({**columns, "needle_spans": [row.gold for row in rows]}), folder / "train.parquet")


def megatron(data: SyntheticDataset, folder: Path) -> None:
    rows = encoded(data)
    for stem, kind, code, values in (
        ("train", np.uint16, 8, [row.input_ids for row in rows]),
        ("train_mask", np.uint8, 1, [row.labels != IGNORED for row in rows]),
    ):
        (folder / f"{stem}.bin").write_bytes(np.concatenate(values).astype(kind).tobytes())
        (folder / f"{stem}.idx").write_bytes(indexed([len(each) for each in values], np.dtype(kind).itemsize, code))


def indexed(lengths: Sequence[int], width: int, code: int) -> bytes:
    """Return an index as megatron-core's `_IndexWriter` writes it."""
    begins = np.cumsum([0, *lengths[:-1]]) * width
    documents = np.arange(len(lengths) + 1)
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(lengths), len(documents))
    return header + b"".join(
        np.asarray(part, dtype=kind).tobytes()
        for part, kind in ((lengths, np.int32), (begins, np.int64), (documents, np.int64))
    )


KINDS: dict[str, Write] = {"messages": messages, "trl": trl, "tokens": tokens, "megatron": megatron}


def finish(folder: Path, rows: int = HAYSTACKS * NEEDLES) -> Path:
    """Write the manifest of what a folder holds."""
    files = {
        str(path.relative_to(folder)): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {"settings": SETTINGS, "haystacks": HAYSTACKS, "rows": rows, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(params=KINDS)
def export(request: pytest.FixtureRequest, data: SyntheticDataset, tmp_path: Path) -> Path:
    """A finished export of each kind."""
    KINDS[request.param](data, tmp_path)
    return finish(tmp_path)
