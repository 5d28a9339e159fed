from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from needlework.dataset import export as exports
from needlework.dataset import workers
from needlework.dataset.export import export
from needlework.dataset.formats import FORMATS
from needlework.dataset.shards import Shards
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import BudgetError, UserError
from needlework.models.chat import Renderer
from needlework.tasks import make_task

SOURCE = str(Path(workers.__file__).parents[2])


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "shard_size", lambda data: 2)


def dataset(renderer: Renderer, size: int = 7, **options: object) -> SyntheticDataset:
    return SyntheticDataset(make_task("simple_dict"), size, 3, 600, renderer, **options)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def children(process: int, name: str) -> list[int]:
    """Return the processes below a process whose command line has a name in it."""
    parents, found = {}, []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if name in (path / "cmdline").read_text():
                found.append(int(path.name))
        except OSError:
            continue

    def is_below(each: int) -> bool:
        while each := parents.get(each, 0):
            if each == process:
                return True
        return False

    return [each for each in found if is_below(each)]


def kill_one(name: str, delay: float) -> Callable[[], None]:
    """Kill one of our processes of a name, after a delay; return a function that waits until that was done."""

    def run() -> None:
        end = time.monotonic() + 60
        while not (found := children(os.getpid(), name)) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(delay)
        os.kill(found[-1], signal.SIGKILL)

    thread = threading.Thread(target=run)
    thread.start()
    return thread.join


def test_the_process_itself_makes_the_shards_in_order(renderer: Renderer, tmp_path: Path) -> None:
    shards = Shards(dataset(renderer), FORMATS["messages"], tmp_path, 2)
    assert [number for number, _ in workers.serial(shards, [0, 2, 3])] == [0, 2, 3]
    assert sorted(path.name[:11] for path in (tmp_path / "data").iterdir()) == [f"train-0000{n}" for n in (0, 2, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tokens", "megatron"])
def test_several_processes_write_the_same_bytes(renderer: Renderer, tmp_path: Path, name: str) -> None:
    export(dataset(renderer), FORMATS[name], tmp_path / "one", {})
    export(dataset(renderer), FORMATS[name], tmp_path / "two", {}, workers.processes(2))
    assert files(tmp_path / "two") == files(tmp_path / "one")


@pytest.mark.slow
def test_what_a_worker_refuses_is_the_users_error(renderer: Renderer, tmp_path: Path) -> None:
    data = dataset(renderer, num_items=(50, 50))
    with pytest.raises(BudgetError, match=r"sample \d with 50 items needs"):
        export(data, FORMATS["messages"], tmp_path, {}, workers.processes(2))


@pytest.mark.slow
def test_a_full_disk_in_a_worker_is_named(renderer: Renderer, tmp_path: Path) -> None:
    (tmp_path / ".export").mkdir()
    (tmp_path / ".export" / "train-00001-of-00004.jsonl.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as error:
        export(dataset(renderer), FORMATS["messages"], tmp_path, {}, workers.processes(2))
    assert error.value.filename == str(tmp_path / "data" / "train-00001-of-00004.jsonl")


@pytest.mark.slow
def test_a_killed_worker_is_explained_and_the_export_goes_on(renderer: Renderer, tmp_path: Path) -> None:
    data = dataset(renderer, 120)
    wait = kill_one("multiprocessing.spawn", 0.5)
    with pytest.raises(UserError, match="a worker process was killed"):
        export(data, FORMATS["messages"], tmp_path / "killed", {}, workers.processes(2))
    wait()
    export(data, FORMATS["messages"], tmp_path / "killed", {})
    export(data, FORMATS["messages"], tmp_path / "whole", {})
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


@pytest.mark.slow
def test_workers_do_not_hear_ctrl_c_and_end_with_their_parent_in_silence(model_folder: Path, tmp_path: Path) -> None:
    options = f"--model {model_folder} --max-tokens 600 --num-haystacks 100000 --workers 2 --output {tmp_path / 'x'}"
    command = [sys.executable, "-m", "needlework", "generate", "simple_dict", *options.split()]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not list((tmp_path / "x").rglob("*.json")) and time.monotonic() < end:
        time.sleep(0.1)
    while len(workers := children(process.pid, "multiprocessing.spawn")) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    for worker in workers:
        os.kill(worker, signal.SIGINT)
    time.sleep(0.5)
    assert len(children(process.pid, "multiprocessing.spawn")) == 2
    process.kill()
    _, said = process.communicate()
    assert said == "generate: 0/100000\n"
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Ray cluster of this machine and return its address."""
    import ray
    from ray.cluster_utils import Cluster

    # Of two at once, in the two processes that test, one may starve.
    with (tmp_path_factory.getbasetemp().parent / "ray.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        running.add_node(num_cpus=1)
        yield running.address
        ray.shutdown()
        running.shutdown()


@pytest.mark.slow
def test_ray_nodes_make_the_same_bytes(renderer: Renderer, tmp_path: Path, cluster: str) -> None:
    # Of all formats its shards have the most files.
    export(dataset(renderer), FORMATS["megatron"], tmp_path / "one", {})
    export(dataset(renderer), FORMATS["megatron"], tmp_path / "ray", {}, workers.on_ray(cluster))
    assert files(tmp_path / "ray") == files(tmp_path / "one")


@pytest.mark.slow
def test_a_shard_lost_with_a_ray_worker_is_made_again(renderer: Renderer, tmp_path: Path, cluster: str) -> None:
    data = dataset(renderer, 60)
    export(data, FORMATS["messages"], tmp_path / "one", {})
    wait = kill_one("ray::", 0.3)
    export(data, FORMATS["messages"], tmp_path / "ray", {}, workers.on_ray(cluster))
    wait()
    assert files(tmp_path / "ray") == files(tmp_path / "one")


@pytest.mark.slow
def test_what_a_ray_task_refuses_is_the_users_error(renderer: Renderer, tmp_path: Path, cluster: str) -> None:
    data = dataset(renderer, num_items=(50, 50))
    before = threading.enumerate()
    with pytest.raises(
        UserError, match=r"^sample \d with 50 items needs \d+ tokens, .* as many as fit \(items=null\)\.$"
    ):
        export(data, FORMATS["messages"], tmp_path, {}, workers.on_ray(cluster))
    # One that still reads would use Ray after its shutdown, which can abort the process.
    assert set(threading.enumerate()) <= set(before)


@pytest.mark.slow
@pytest.mark.parametrize("port", [1, 70_000])
def test_a_ray_cluster_that_is_not_there_is_named(renderer: Renderer, tmp_path: Path, port: int) -> None:
    with pytest.raises(UserError, match=rf"cannot reach a Ray cluster at 127\.0\.0\.1:{port}"):
        export(dataset(renderer), FORMATS["messages"], tmp_path, {}, workers.on_ray(f"127.0.0.1:{port}"))


def test_an_empty_address_of_ray_is_no_address(renderer: Renderer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs the cluster's address"):
        export(dataset(renderer), FORMATS["messages"], tmp_path, {}, workers.on_ray(""))


def test_without_ray_the_command_to_install_it_is_named(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[ray\]' in the clone"):
        export(dataset(renderer), FORMATS["messages"], tmp_path, {}, workers.on_ray("auto"))
