from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from needlework.dataset import backends
from needlework.dataset.export import export
from needlework.dataset.formats import FORMATS
from needlework.dataset.shards import Shards
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import BudgetError, UserError
from needlework.models.chat import Renderer
from needlework.tasks import make_task


@pytest.fixture
def data(renderer: Renderer) -> SyntheticDataset:
    return SyntheticDataset(make_task("simple_dict", {}), 7, 3, 600, renderer)


def test_the_process_itself_makes_the_shards_in_order(data: SyntheticDataset, tmp_path: Path) -> None:
    shards = Shards(data, FORMATS["messages"], tmp_path, 2)
    assert [number for number, _ in backends.serial(shards, [0, 2, 3])] == [0, 2, 3]
    assert sorted(path.name[:11] for path in (tmp_path / "data").iterdir()) == [f"train-0000{n}" for n in (0, 2, 3)]
