from __future__ import annotations

from pathlib import Path

import pytest

from needlework.dataset import export as exports
from needlework.dataset.export import export
from needlework.dataset.formats import FORMATS, tokens
from needlework.dataset.synthetic import SyntheticDataset
from needlework.models.chat import Renderer
from needlework.tasks import make_task


@pytest.mark.parametrize("conversation", [False, True])
def test_datasets_streams_the_rows_that_were_encoded(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conversation: bool
) -> None:
    from datasets import load_dataset

    monkeypatch.setattr(exports, "shard_size", lambda data: 2)
    data = SyntheticDataset(
        make_task("simple_dict"), 5, 3, 700, Renderer(renderer.tokenizer, conversation=conversation)
    )
    export(data, FORMATS["tokens"], tmp_path, {})
    rows = list(load_dataset(str(tmp_path), split="train", streaming=True))
    expected = [row for index in range(5) for row in data.encoded(index)]
    assert len(rows) == len(expected) == (5 if conversation else 15)
    for row, encoded in zip(rows, expected, strict=True):
        assert row["input_ids"] == encoded.input_ids.tolist()
        assert row["labels"] == encoded.labels.tolist()
        assert row["needle_spans"] == [list(span) for span in encoded.gold]


def test_labels_take_little_room(renderer: Renderer) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = SyntheticDataset(make_task("simple_dict"), 8, 3, 4096, renderer, num_items=(60, 60))
    content = tokens.write(data, range(8)).contents["parquet"]
    group = pq.read_metadata(pa.BufferReader(content)).row_group(0)
    sizes = {group.column(i).path_in_schema.split(".")[0]: group.column(i).total_compressed_size for i in range(3)}
    assert sizes["labels"] < sizes["input_ids"] / 50
