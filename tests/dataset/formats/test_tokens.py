from __future__ import annotations

from pathlib import Path

import pytest

from needlework.dataset import export as exports
from needlework.dataset.export import export
from needlework.dataset.formats import FORMATS
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
        make_task("simple_dict", {}), 5, 3, 700, Renderer(renderer.tokenizer, conversation=conversation)
    )
    export(data, FORMATS["tokens"], tmp_path, {})
    rows = list(load_dataset(str(tmp_path), split="train", streaming=True))
    expected = [row for index in range(5) for row in data.encoded(index)]
    assert len(rows) == len(expected) == (5 if conversation else 15)
    for row, encoded in zip(rows, expected, strict=True):
        assert row["input_ids"] == encoded.input_ids.tolist()
        assert row["labels"] == encoded.labels.tolist()
        assert row["needle_spans"] == [list(span) for span in encoded.gold]
