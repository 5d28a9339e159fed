from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from needlework.dataset.export import write_messages
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import DataError
from needlework.models.chat import Renderer
from needlework.tasks import make_task


def dataset(renderer: Renderer, size: int = 5) -> SyntheticDataset:
    return SyntheticDataset(make_task("simple_dict", {}), size, 3, 600, renderer)


def test_each_needle_is_a_chat_of_its_question_and_answer(renderer: Renderer, tmp_path: Path) -> None:
    data = dataset(renderer)
    path = write_messages(data, tmp_path, {"seed": 0})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    asked = [(data[index], needle) for index in range(5) for needle in data[index].needles]
    assert rows == [
        {
            "messages": [
                {"role": "user", "content": haystack.message(needle)},
                {"role": "assistant", "content": needle.answer},
            ]
        }
        for haystack, needle in asked
    ]


def test_a_system_message_is_written(renderer: Renderer, tmp_path: Path) -> None:
    data = dataset(Renderer(renderer.tokenizer, system="Be brief."), 1)
    row = json.loads(write_messages(data, tmp_path, {}).read_text().splitlines()[0])
    assert row["messages"][0] == {"role": "system", "content": "Be brief."}


def test_the_manifest_has_counts_and_checksum(renderer: Renderer, tmp_path: Path) -> None:
    path = write_messages(dataset(renderer), tmp_path, {"seed": 0})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest == {
        "settings": {"seed": 0},
        "haystacks": 5,
        "files": {"messages.jsonl": {"rows": 15, "sha256": digest}},
    }


def test_another_dataset_in_the_folder_is_refused(renderer: Renderer, tmp_path: Path) -> None:
    path = write_messages(dataset(renderer), tmp_path, {"seed": 0})
    content = path.read_bytes()
    with pytest.raises(DataError, match=r"other settings \(seed\)"):
        write_messages(dataset(renderer), tmp_path, {"seed": 1})
    assert path.read_bytes() == content


def test_a_finished_export_is_left_alone(renderer: Renderer, tmp_path: Path) -> None:
    path = write_messages(dataset(renderer), tmp_path, {"seed": 0})
    stamp = path.stat().st_mtime_ns
    write_messages(dataset(renderer), tmp_path, {"seed": 0})
    assert path.stat().st_mtime_ns == stamp
