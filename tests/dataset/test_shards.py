from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest

from needlework.dataset.formats import FORMATS
from needlework.dataset.shards import (
    SHARD_HAYSTACKS,
    SHARD_TOKENS,
    Shards,
    find_manifest,
    is_whole,
    shard_size,
    write_file,
)
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import DataError
from needlework.models.chat import Renderer
from needlework.tasks import make_task


def dataset(renderer: Renderer, size: int = 7, needles: int = 3, max_tokens: int = 600) -> SyntheticDataset:
    return SyntheticDataset(make_task("simple_dict"), size, needles, max_tokens, renderer)


@pytest.mark.parametrize(
    ("needles", "max_tokens", "conversation", "expected"),
    [
        (1, 1000, False, SHARD_HAYSTACKS),
        (8, 4096, False, SHARD_TOKENS // 8 // 4096),
        (8, 16384, True, SHARD_TOKENS // 16384),
        (100, 262_144, False, 1),
    ],
)
def test_a_shard_is_bounded_in_haystacks_and_tokens(
    renderer: Renderer, needles: int, max_tokens: int, conversation: bool, expected: int
) -> None:
    data = dataset(Renderer(renderer.tokenizer, conversation=conversation), needles=needles, max_tokens=max_tokens)
    assert shard_size(data) == expected


def test_shards_hold_every_haystack_once(renderer: Renderer, tmp_path: Path) -> None:
    shards = Shards(dataset(renderer), FORMATS["trl"], tmp_path, 3)
    assert [list(shards.indices(number)) for number in range(len(shards))] == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("name", FORMATS)
def test_a_shard_is_the_same_wherever_it_is_made(renderer: Renderer, tmp_path: Path, name: str) -> None:
    shards = Shards(dataset(renderer), FORMATS[name], tmp_path, 3)
    # Whatever else was made before, here and there.
    shards.make(2)
    elsewhere: Shards = pickle.loads(pickle.dumps(shards))
    elsewhere.make(0)
    made, again = shards.make(1), elsewhere.make(1)
    assert made.rows == again.rows == 9
    assert {key: bytes(each) for key, each in made.contents.items()} == {
        key: bytes(each) for key, each in again.contents.items()
    }


def test_a_stored_shard_is_known_by_its_marker(renderer: Renderer, tmp_path: Path) -> None:
    shards = Shards(dataset(renderer), FORMATS["trl"], tmp_path, 3)
    entries = shards.store(2, shards.make(2))
    content = (tmp_path / "data" / "train-00002-of-00003.jsonl").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert shards.stored() == entries
    assert entries == {"data/train-00002-of-00003.jsonl": {"bytes": len(content), "sha256": digest, "rows": 3}}


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    def chunks() -> object:
        yield b"first"
        assert not (tmp_path / "file").exists()
        yield memoryview(b"second")

    entry = write_file(tmp_path, "file", chunks())  # type: ignore[arg-type]
    assert (tmp_path / "file").read_bytes() == b"firstsecond"
    assert entry == {"bytes": 11, "sha256": hashlib.sha256(b"firstsecond").hexdigest()}


DAMAGED = '{"settings": {}, "haystacks": 1, "rows": 1, "files": {"train.jsonl": 5}}'


@pytest.mark.parametrize("content", ["{}", '{"name": "an app"}', DAMAGED])
def test_someone_elses_manifest_is_refused(tmp_path: Path, content: str) -> None:
    assert find_manifest(tmp_path / "manifest.json") is None
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=r"manifest\.json is not the manifest of a dataset: .* Give another folder"):
        find_manifest(tmp_path / "manifest.json")


def test_a_file_is_whole_missing_or_damaged(tmp_path: Path) -> None:
    entry = write_file(tmp_path, "file", [b"content"])
    assert is_whole(tmp_path / "file", entry)
    assert not is_whole(tmp_path / "other", entry)
    for content, size in ((b"content!", 8), (b"cOntent", 7)):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(DataError, match=f"damaged: it has {size} bytes and not the checksum of the 7 that were"):
            is_whole(tmp_path / "file", entry)
