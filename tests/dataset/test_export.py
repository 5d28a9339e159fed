from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from needlework.dataset import export as exports
from needlework.dataset.export import export
from needlework.dataset.formats import FORMATS
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import BudgetError, DataError
from needlework.models.chat import Renderer
from needlework.recipe import Train
from needlework.tasks import make_task

SETTINGS = {"seed": 0, "train": Train().model_dump(mode="json"), "model": {"name": "some/model"}}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "shard_size", lambda data: 2)


@pytest.fixture
def data(renderer: Renderer) -> SyntheticDataset:
    return SyntheticDataset(make_task("simple_dict"), 7, 3, 600, renderer)


def files(folder: Path) -> dict[str, bytes]:
    """Return everything in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", FORMATS)
def test_the_manifest_knows_every_file(data: SyntheticDataset, tmp_path: Path, name: str) -> None:
    manifest = export(data, FORMATS[name], tmp_path, SETTINGS)
    written = files(tmp_path)
    assert json.loads(written.pop("manifest.json")) == manifest
    assert manifest["settings"] == {**SETTINGS, "haystacks_per_shard": 2}
    assert (manifest["haystacks"], manifest["rows"]) == (7, 21)
    assert {
        file: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for file, content in written.items()
    } == {file: {key: entry[key] for key in ("bytes", "sha256")} for file, entry in manifest["files"].items()}


def test_each_shard_has_its_row_count(data: SyntheticDataset, tmp_path: Path) -> None:
    entries = export(data, FORMATS["messages"], tmp_path, {})["files"]
    assert {name: entry["rows"] for name, entry in entries.items()} == {
        "data/train-00000-of-00004.jsonl": 6,
        "data/train-00001-of-00004.jsonl": 6,
        "data/train-00002-of-00004.jsonl": 6,
        "data/train-00003-of-00004.jsonl": 3,
    }


def test_progress_counts_haystacks(data: SyntheticDataset, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    export(data, FORMATS["messages"], tmp_path, {}, report=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 7), (2, 7), (4, 7), (6, 7), (7, 7)]


def test_a_finished_export_is_left_alone(data: SyntheticDataset, tmp_path: Path) -> None:
    manifest = export(data, FORMATS["messages"], tmp_path, {})
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert export(data, FORMATS["messages"], tmp_path, {}) == manifest
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps


def interrupted(data: SyntheticDataset, name: str, folder: Path, after: int) -> None:
    """Begin an export and stop it after so many shards."""

    class Stop(Exception):
        pass

    def report(done: int, total: int) -> None:
        if done >= 2 * after:
            raise Stop

    with pytest.raises(Stop):
        export(data, FORMATS[name], folder, {}, report=report)


@pytest.mark.parametrize("name", ["messages", "megatron"])
def test_a_dataset_of_other_settings_is_refused(data: SyntheticDataset, tmp_path: Path, name: str) -> None:
    export(data, FORMATS[name], tmp_path / "done", {})
    interrupted(data, name, tmp_path / "begun", 2)
    for folder in (tmp_path / "done", tmp_path / "begun"):
        before = files(folder)
        with pytest.raises(DataError, match="other settings: seed is None there and 1 here"):
            export(data, FORMATS[name], folder, {"seed": 1})
        assert files(folder) == before


def test_settings_of_which_nothing_was_made_may_be_mended_in_place(renderer: Renderer, tmp_path: Path) -> None:
    small, large = (
        SyntheticDataset(make_task("simple_dict"), 2, 3, tokens, renderer, num_items=(8, 8)) for tokens in (90, 900)
    )
    with pytest.raises(BudgetError, match="max_tokens=90"):
        export(small, FORMATS["trl"], tmp_path, {"max_tokens": 90})
    assert export(large, FORMATS["trl"], tmp_path, {"max_tokens": 900})["rows"] == 6


def test_files_of_someone_else_are_not_touched(data: SyntheticDataset, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("mine")
    with pytest.raises(DataError, match=r"files that no manifest\.json explains"):
        export(data, FORMATS["openai"], tmp_path, {})
    assert files(tmp_path) == {"train.jsonl": b"mine"}


def test_someone_elses_manifest_is_not_touched(data: SyntheticDataset, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "an app"}')
    with pytest.raises(DataError, match=r"manifest\.json is not the manifest of a dataset"):
        export(data, FORMATS["openai"], tmp_path, {})
    assert files(tmp_path) == {"manifest.json": b'{"name": "an app"}'}


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[:-1] if how == "shorter" else content)


@pytest.mark.parametrize("how", ["shorter", "changed"])
@pytest.mark.parametrize("name", ["messages", "tokens", "megatron"])
def test_a_damaged_shard_is_refused_and_written_again_when_deleted(
    data: SyntheticDataset, tmp_path: Path, name: str, how: str
) -> None:
    export(data, FORMATS[name], tmp_path / "whole", {})
    interrupted(data, name, tmp_path / "begun", 2)
    shard = next(path for path in (tmp_path / "begun").rglob("*00001*") if path.suffix not in (".json", ".lengths"))
    damage(shard, how)
    with pytest.raises(DataError, match=f"{shard} is damaged: .* Delete it, and the same `needlework generate` writes"):
        export(data, FORMATS[name], tmp_path / "begun", {})
    shard.unlink()
    export(data, FORMATS[name], tmp_path / "begun", {})
    assert files(tmp_path / "begun") == files(tmp_path / "whole")


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_of_a_finished_export_is_refused_and_written_again_when_deleted(
    data: SyntheticDataset, tmp_path: Path, name: str
) -> None:
    manifest = export(data, FORMATS[name], tmp_path, SETTINGS)
    whole = files(tmp_path)
    for file in manifest["files"]:
        damage(tmp_path / file, "changed")
        with pytest.raises(DataError, match="is damaged"):
            export(data, FORMATS[name], tmp_path, SETTINGS)
        (tmp_path / file).unlink()
        export(data, FORMATS[name], tmp_path, SETTINGS)
        assert files(tmp_path) == whole


@pytest.mark.parametrize("file", ["manifest.json", ".export/settings.json", ".export/00001.json"])
def test_a_damaged_record_is_refused(data: SyntheticDataset, tmp_path: Path, file: str) -> None:
    interrupted(data, "messages", tmp_path, 2)
    (tmp_path / file).write_text("{")
    with pytest.raises(DataError, match="is not a JSON object"):
        export(data, FORMATS["messages"], tmp_path, {})


@pytest.mark.parametrize("name", ["messages", "megatron"])
def test_after_any_number_of_shards_the_rest_is_written(data: SyntheticDataset, tmp_path: Path, name: str) -> None:
    export(data, FORMATS[name], tmp_path / "whole", {})
    for after in range(5):
        folder = tmp_path / str(after)
        interrupted(data, name, folder, after) if after < 4 else None
        made: list[int] = []

        def counting(shards: object, numbers: list[int], made: list[int] = made) -> Iterator[object]:
            made += numbers
            return exports.serial(shards, numbers)  # type: ignore[arg-type]

        export(data, FORMATS[name], folder, {}, counting)  # type: ignore[arg-type]
        assert made == list(range(after % 4, 4))
        assert files(folder) == files(tmp_path / "whole")


def kill_at_random(work: Callable[[], object], seed: int, longest: float) -> bool:
    """Run something in a process of its own, kill it at a random moment; return whether it was done before."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(random.Random(seed).uniform(0, longest))
    if process.exitcode is None:
        os.kill(process.pid, signal.SIGKILL)  # type: ignore[arg-type]
    process.join()
    return process.exitcode == 0


@pytest.mark.parametrize("name", ["tokens", "openai", "megatron"])
def test_killed_again_and_again_it_ends_with_the_same_bytes(data: SyntheticDataset, tmp_path: Path, name: str) -> None:
    data = replace(data, size=40)
    times = []
    for folder in ("warm", "whole"):
        start = time.perf_counter()
        export(data, FORMATS[name], tmp_path / folder, {})
        times.append(time.perf_counter() - start)
    # A machine that pauses during one of them would let all finish before they are killed.
    longest, finished = min(times), 0
    for seed in range(20):
        folder = tmp_path / str(seed // 5)
        finished += kill_at_random(lambda folder=folder: export(data, FORMATS[name], folder, {}), seed, longest)
    for number in range(4):
        export(data, FORMATS[name], tmp_path / str(number), {})
        assert files(tmp_path / str(number)) == files(tmp_path / "whole")
    assert finished < 20


class FullDisk:
    """Takes so many bytes of all files together, then says that there is no room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room, real = room, Path.open
        disk = self

        def open_(path: Path, *arguments: object, **options: object) -> object:
            file = real(path, *arguments, **options)  # type: ignore[arg-type]
            if "wb" in arguments:
                write = file.write

                def limited(content: bytes) -> int:
                    disk.room -= len(content)
                    if disk.room < 0:
                        write(content[: len(content) // 2])
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    return write(content)  # type: ignore[return-value, arg-type]

                class File:
                    def __enter__(self) -> File:
                        return self

                    def __exit__(self, *arguments: object) -> None:
                        file.close()

                    write = staticmethod(limited)

                return File()
            return file

        monkeypatch.setattr(Path, "open", open_)


@pytest.mark.parametrize("name", ["messages", "megatron"])
def test_a_full_disk_is_named_and_with_room_the_export_goes_on(
    data: SyntheticDataset, tmp_path: Path, name: str
) -> None:
    export(data, FORMATS[name], tmp_path / "whole", {})
    size = sum(map(len, files(tmp_path / "whole").values()))
    for number, room in enumerate([0, 100, size // 3, size // 2, size - 10]):
        folder = tmp_path / str(number)
        with pytest.MonkeyPatch.context() as monkeypatch:
            FullDisk(monkeypatch, room)
            with pytest.raises(OSError, match="No space left") as error:
                export(data, FORMATS[name], folder, {})
        assert str(folder) in str(error.value.filename)
        assert not list(folder.rglob("*.tmp"))
        export(data, FORMATS[name], folder, {})
        assert files(folder) == files(tmp_path / "whole")


def test_a_disk_that_is_really_full(data: SyntheticDataset, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    interrupted(data, "messages", tmp_path, 1)
    (tmp_path / ".export" / "00001.json.tmp").symlink_to(full)
    with pytest.raises(OSError, match="No space left"):
        export(data, FORMATS["messages"], tmp_path, {})
    export(data, FORMATS["messages"], tmp_path, {})
    export(data, FORMATS["messages"], tmp_path / "whole", {})
    assert files(tmp_path / "data") == files(tmp_path / "whole" / "data")


def test_memory_is_that_of_a_shard_not_of_the_dataset(renderer: Renderer, tmp_path: Path) -> None:
    # So large that garbage which Python collects later is not a third of it.
    data = SyntheticDataset(make_task("simple_dict"), 400, 3, 900, renderer, num_items=(10, 10))
    # What is loaded once, as the tables that texts are composed of, is as large for any dataset.
    export(replace(data, size=2), FORMATS["messages"], tmp_path / "small", {})
    assert data.encoded(0)
    tracemalloc.start()
    manifest = export(data, FORMATS["messages"], tmp_path / "large", {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < sum(entry["bytes"] for entry in manifest["files"].values()) / 3
