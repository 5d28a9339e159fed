"""Megatron's `.bin/.idx` pair, as megatron-core's `IndexedDataset` reads it, and the loss mask as a second pair.

    train.bin        the ids of all rows, one after the other
    train.idx        length and start of each row; each row is a document
    train_mask.bin   1 for each id that is trained on, else 0
    train_mask.idx

The mask is not shifted: if labels are the ids shifted by one, shift the mask the same way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from needlework.dataset.encoded import IGNORED
from needlework.dataset.formats.base import Files, Shard, Whole
from needlework.dataset.synthetic import SyntheticDataset

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HEADER = struct.Struct("<9sQBQQ")
"""The head of an `.idx`: magic, version, type of the values, number of rows, and number of documents plus one."""
MARK, VERSION = b"MMIDIDX\x00\x00", 1
# `DType` of megatron/core/datasets/indexed_dataset.py.
CODES = {np.uint8: 1, np.int32: 4, np.uint16: 8}

Kind = type[np.uint8] | type[np.uint16] | type[np.int32]


def write(data: SyntheticDataset, indices: range) -> Shard:
    """Write the ids, the mask, and the lengths of the rows."""
    rows = list(chain.from_iterable(data.encoded_many(indices)))
    # Converted row by row, while each row is still in the CPU cache.
    ids = np.concatenate([row.input_ids for row in rows], dtype=id_kind(data), casting="unsafe")
    mask = np.concatenate([row.labels != IGNORED for row in rows])
    lengths = np.array([len(row.input_ids) for row in rows], dtype=np.int32)
    arrays = {"bin": ids, "mask": mask, "lengths": lengths}
    return Shard(len(rows), {extension: array.view(np.uint8).data for extension, array in arrays.items()})


def finish(whole: Whole) -> Files:
    """Make the two pairs."""
    yield "train.bin", whole.joined("bin")
    yield "train.idx", _index(whole, id_kind(whole.data))
    yield "train_mask.bin", whole.joined("mask")
    yield "train_mask.idx", _index(whole, np.uint8)


def id_kind(data: SyntheticDataset) -> Kind:
    """Return the type of the ids, by the rule of `DType.optimal_dtype`: two bytes for up to 65,499 tokens."""
    # Ids may have gaps, so the highest one matters, not how many there are.
    return np.uint16 if _highest_id(data.renderer.tokenizer) + 1 < 65_500 else np.int32


@lru_cache(maxsize=1)
def _highest_id(tokenizer: PreTrainedTokenizerBase) -> int:
    return max(tokenizer.get_vocab().values())


def _index(whole: Whole, kind: Kind) -> Iterator[bytes]:
    """Yield the index: header, lengths (int32), byte offsets (int64), first row of each document (int64)."""
    rows = sum(path.stat().st_size for path in (shard["lengths"] for shard in whole.shards)) // 4
    yield HEADER.pack(MARK, VERSION, CODES[kind], rows, rows + 1)
    yield from whole.joined("lengths")
    begin = 0
    for lengths in _lengths(whole):
        ends = begin + np.cumsum(lengths, dtype=np.int64) * np.dtype(kind).itemsize
        yield np.concatenate([[begin], ends[:-1]]).astype(np.int64).tobytes()
        begin = int(ends[-1])
    # Each row is a document; a final entry marks the end of the last one.
    first = 0
    for lengths in _lengths(whole):
        yield np.arange(first, first + len(lengths), dtype=np.int64).tobytes()
        first += len(lengths)
    yield struct.pack("<q", first)


def _lengths(whole: Whole) -> Iterator[npt.NDArray[np.int32]]:
    for shard in whole.shards:
        yield np.fromfile(shard["lengths"], dtype=np.int32)
