"""Token ids, labels and needle spans as Parquet."""

from __future__ import annotations

from itertools import chain

import numpy as np
import numpy.typing as npt

from needlework.dataset.formats.base import Shard
from needlework.dataset.synthetic import SyntheticDataset

Lengths = npt.NDArray[np.int32]


def write(data: SyntheticDataset, indices: range) -> Shard:
    """Write the columns `input_ids`, `labels` and `needle_spans`, a list in each row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row for index in indices for row in data.encoded(index)]
    tokens = _offsets(np.array([len(row.input_ids) for row in rows], dtype=np.int32))
    needles = _offsets(np.array([len(row.gold) for row in rows], dtype=np.int32))
    spans = np.array(list(chain.from_iterable(row.gold for row in rows)), dtype=np.int32).reshape(-1, 2)
    pairs = pa.ListArray.from_arrays(pa.array(_offsets(np.full(len(spans), 2, dtype=np.int32))), pa.array(spans.ravel()))
    table = pa.table(
        {
            "input_ids": pa.ListArray.from_arrays(
                pa.array(tokens), pa.array(np.concatenate([row.input_ids for row in rows]))
            ),
            "labels": pa.ListArray.from_arrays(
                pa.array(tokens), pa.array(np.concatenate([row.labels for row in rows]))
            ),
            "needle_spans": pa.ListArray.from_arrays(pa.array(needles), pairs),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none")
    return Shard(len(rows), {"parquet": memoryview(sink.getvalue())})


def _offsets(lengths: Lengths) -> Lengths:
    """Return where each list begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
