"""Token ids, labels and needle spans as Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from needlework.dataset.encoded import Encoded
from needlework.dataset.formats.base import Shard
from needlework.dataset.synthetic import SyntheticDataset

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_TOKENS = 1 << 18
"""Approximate size of a row group: small enough to stay in the CPU cache."""


def write(data: SyntheticDataset, indices: range) -> Shard:
    """Write the columns `input_ids`, `labels` and `needle_spans`, with a list in each row.

    Plain ids and LZ4 labels are the fastest encoding that every reader supports; most of the time goes into Parquet's
    list levels. A dictionary or compression for the ids would take 25 to 100 % longer.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    integers = _list_of(pa.int32())
    kinds = {"input_ids": integers, "labels": integers, "needle_spans": _list_of(integers)}
    # Nothing is ever null; declaring that saves a level.
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])
    options = {"use_dictionary": False, "write_statistics": False, "compression": {"labels.list.element": "lz4"}}
    sink, count = pa.BufferOutputStream(), 0
    with pq.ParquetWriter(sink, schema, **options) as writer:
        for rows in _groups(data, indices):
            writer.write_table(_table(rows, schema))
            count += len(rows)
    return Shard(count, {"parquet": memoryview(sink.getvalue())})


def _groups(data: SyntheticDataset, indices: range) -> Iterator[list[Encoded]]:
    rows: list[Encoded] = []
    tokens = 0
    for encoded in data.encoded_many(indices):
        rows += encoded
        tokens += sum(len(row.input_ids) for row in encoded)
        if tokens >= GROUP_TOKENS:
            yield rows
            rows, tokens = [], 0
    if rows:
        yield rows


def _table(rows: list[Encoded], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    tokens = [len(row.input_ids) for row in rows]
    spans = np.array(list(chain.from_iterable(row.gold for row in rows)), dtype=np.int32)
    columns = [
        _lists(tokens, pa.array(np.concatenate([row.input_ids for row in rows]))),
        _lists(tokens, pa.array(np.concatenate([row.labels for row in rows]))),
        _lists([len(row.gold) for row in rows], _lists([2] * len(spans), pa.array(spans.ravel()))),
    ]
    return pa.table(columns, schema=schema)


def _lists(lengths: Iterable[int], values: pa.Array) -> pa.ListArray:
    """Cut values into lists of the given lengths, without creating a Python object for each value."""
    import pyarrow as pa

    ends = np.cumsum(np.fromiter(lengths, dtype=np.int32), dtype=np.int32)
    offsets = np.concatenate([np.zeros(1, dtype=np.int32), ends])
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=_list_of(values.type))


def _list_of(kind: pa.DataType) -> pa.ListType:
    import pyarrow as pa

    return pa.list_(pa.field("element", kind, nullable=False))
