from __future__ import annotations

from pathlib import Path

import pytest

from needlework.dataset.formats import base
from needlework.dataset.formats.base import Whole
from needlework.dataset.synthetic import SyntheticDataset
from needlework.models.chat import Renderer
from needlework.tasks import make_task


def test_the_files_of_all_shards_are_joined_in_order(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "CHUNK", 3)
    contents = [b"one, ", b"", b"two and ", b"three"]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.bin").write_bytes(content)
        (tmp_path / f"{number}.mask").write_bytes(b"x")
    shards = [{each: tmp_path / f"{number}.{each}" for each in ("bin", "mask")} for number in range(4)]
    whole = Whole(SyntheticDataset(make_task("simple_dict"), 4, 1, 600, renderer), {}, shards)
    assert b"".join(whole.joined("bin")) == b"one, two and three"
    assert max(map(len, whole.joined("bin"))) == 3
