"""Who makes the shards: this process, several, or the nodes of a Ray cluster. The files are the same."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from needlework.dataset.formats.base import Shard
from needlework.dataset.shards import Entries, Shards
from needlework.errors import UserError

Backend = Callable[[Shards, Sequence[int]], Iterator[tuple[int, Entries]]]
"""Makes and stores the shards of some numbers, in any order; yields each when it is stored."""


def serial(shards: Shards, numbers: Sequence[int]) -> Iterator[tuple[int, Entries]]:
    """Make the shards in this process."""
    for number in numbers:
        yield number, shards.store(number, shards.make(number))


def processes(workers: int) -> Backend:
    """Return a backend of so many processes of this machine, each of which writes its shards itself."""

    def run(shards: Shards, numbers: Sequence[int]) -> Iterator[tuple[int, Entries]]:
        spawn = multiprocessing.get_context("spawn")
        count = min(workers, len(numbers))
        with _silent_children():
            # What is large is not an argument of a process: one that loses its parent meanwhile complains.
            work = spawn.Queue()
            pool = ProcessPoolExecutor(max(1, count), spawn, _begin, (work,))
            futures = [pool.submit(_store, number) for number in numbers]
        for _ in range(count):
            work.put(shards)
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed, perhaps because the memory ran out. The same command continues "
                "where this one stopped; with fewer --workers it needs less memory."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            # Not to wait for those who will not listen.
            work.cancel_join_thread()

    return run


@contextmanager
def _silent_children() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: it goes to all of the terminal, and this one answers it.

    They end with this one, which may leave without a word to them (see `needlework.interrupt`).
    """
    given = os.environ.get("PYTHONWARNINGS")
    # Else the process that cleans up behind them warns that there was something to clean up.
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    # It resets the mask when it starts.
    resource_tracker.ensure_running()
    # Processes inherit the mask, so they are deaf from their first moment.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.environ.pop("PYTHONWARNINGS")
        if given is not None:
            os.environ["PYTHONWARNINGS"] = given


_shards: Shards
"""The work of this worker process, handed over once."""


def _begin(work: multiprocessing.Queue[Shards]) -> None:
    global _shards
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _use_one_thread()
    _shards = work.get()


def _use_one_thread() -> None:
    # The processes are the parallelism; threads of the tokenizer would only compete with them.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _end_with_parent() -> None:
    """Leave when the parent is gone, even if it was killed: nobody waits for the work any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _store(number: int) -> tuple[int, Entries]:
    return number, _shards.store(number, _shards.make(number))


def on_ray(address: str) -> Backend:
    """Return a backend of a Ray cluster, whose nodes make the shards with Ray Data; this process writes them.

    So the nodes need no common disk, and a shard that was lost with a worker is made again by Ray.

    Args:
        address: As of `ray.init`: `auto`, `local`, or `ray://HOST:PORT`.
    """

    def run(shards: Shards, numbers: Sequence[int]) -> Iterator[tuple[int, Entries]]:
        if not numbers:
            return
        ray = _connected(address)
        # A block for each shard: what is lost with a worker is then one shard.
        blocks = ray.data.range(len(numbers), override_num_blocks=len(numbers))
        most = max(1, min(len(numbers), int(ray.cluster_resources().get("CPU", 1))))
        try:
            made = blocks.map(_Maker, fn_constructor_args=(shards, list(numbers)), concurrency=(1, most))
            for row in made.iter_rows():
                if row["refusal"]:
                    raise UserError(row["refusal"])
                contents = {extension: row[extension] for extension in shards.format.extensions}
                yield row["number"], shards.store(row["number"], Shard(row["rows"], contents))
        except ray.exceptions.RayError as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"Ray gave up: {reason} The same command continues where this one stopped.") from None
        finally:
            ray.shutdown()

    return run


def _connected(address: str) -> Any:
    """Return Ray, connected to a cluster."""
    if not address:
        raise UserError("--ray needs the cluster's address: auto, local, or ray://HOST:PORT.")
    try:
        import ray
        import ray.data
    except ImportError:
        raise UserError("--ray needs Ray, which is not installed: pip install 'needlework[ray]'") from None
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        if port.isdigit():
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"cannot reach a Ray cluster at {address}: {reason}") from None
    # What it is doing is ours to show.
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    return ray


class _Maker:
    """Makes shards as rows of Ray Data; a worker keeps it, because reading a tokenizer takes long."""

    def __init__(self, shards: Shards, numbers: Sequence[int]) -> None:
        _use_one_thread()
        self.shards = shards
        self.numbers = numbers

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make one. What the user has to mend is returned, since Ray would try again."""
        number = self.numbers[row["id"]]
        try:
            shard, refusal = self.shards.make(number), ""
        except UserError as error:
            shard, refusal = Shard(0, dict.fromkeys(self.shards.format.extensions, b"")), str(error)
        contents = {extension: bytes(content) for extension, content in shard.contents.items()}
        return {"number": number, "rows": shard.rows, "refusal": refusal, **contents}
