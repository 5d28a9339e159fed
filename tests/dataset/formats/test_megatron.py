from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from needlework.dataset import export as exports
from needlework.dataset.export import export
from needlework.dataset.formats import FORMATS, megatron
from needlework.dataset.synthetic import SyntheticDataset
from needlework.models.chat import Renderer
from needlework.tasks import make_task
from tests.conftest import make_tokenizer


def dataset(renderer: Renderer, size: int = 5) -> SyntheticDataset:
    return SyntheticDataset(make_task("simple_dict"), size, 3, 600, renderer)


@pytest.mark.filterwarnings("ignore")
def test_megatron_core_reads_back_the_same_ids_and_masks(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    monkeypatch.setattr(exports, "shard_size", lambda data: 2)
    data = dataset(renderer)
    export(data, FORMATS["megatron"], tmp_path, {})
    ids, mask = IndexedDataset(str(tmp_path / "train")), IndexedDataset(str(tmp_path / "train_mask"))
    expected = [row for index in range(5) for row in data.encoded(index)]
    assert len(ids) == len(mask) == len(expected) == 15
    assert ids.document_indices.tolist() == mask.document_indices.tolist() == list(range(16))
    for index, row in enumerate(expected):
        assert ids[index].tolist() == row.input_ids.tolist()
        assert mask[index].tolist() == (row.labels != -100).tolist()


@pytest.mark.parametrize(("highest", "expected"), [(65_498, np.uint16), (65_499, np.int32)])
def test_ids_have_the_type_that_megatron_chooses(highest: int, expected: type, monkeypatch: pytest.MonkeyPatch) -> None:
    from megatron.core.datasets.indexed_dataset import DType

    renderer = Renderer(make_tokenizer())
    monkeypatch.setattr(renderer.tokenizer, "get_vocab", lambda: {"first": 0, "last": highest})
    data = dataset(renderer)
    assert megatron.id_kind(data) is expected is DType.optimal_dtype(highest + 1)
    assert len(megatron.write(data, range(1)).contents["bin"]) == np.dtype(expected).itemsize * sum(
        len(row.input_ids) for row in data.encoded(0)
    )
