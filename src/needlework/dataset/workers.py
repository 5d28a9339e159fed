"""Who makes the shards: this process, worker processes, or a Ray cluster. The files are identical."""

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
from functools import lru_cache
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any

from needlework.dataset.formats.base import Shard
from needlework.dataset.shards import Entries, Shards
from needlework.errors import UserError

Workers = Callable[[Shards, Sequence[int]], Iterator[tuple[int, Entries]]]
"""Makes and stores the shards with the given numbers, in any order; yields each one once it is stored."""


def serial(shards: Shards, numbers: Sequence[int]) -> Iterator[tuple[int, Entries]]:
    """Make the shards in this process."""
    for number in numbers:
        yield number, shards.store(number, shards.make(number))


def processes(workers: int) -> Workers:
    """Return `workers` processes on this machine, each of which writes its own shards."""

    def run(shards: Shards, numbers: Sequence[int]) -> Iterator[tuple[int, Entries]]:
        spawn = multiprocessing.get_context("spawn")
        count = min(workers, len(numbers))
        with _silent_children():
            # `shards` is large, so it goes through a queue: a process that loses its parent while it still reads its
            # arguments prints a traceback.
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
            # Otherwise exiting would wait for workers that no longer read the queue.
            work.cancel_join_thread()

    return run


@contextmanager
def _silent_children() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: the terminal sends it to all of them, and only this one handles it.

    They end with this one, which may exit without telling them (see `needlework.interrupt`).
    """
    given = os.environ.get("PYTHONWARNINGS")
    # Otherwise the resource tracker, which cleans up after them, warns that there was something to clean up.
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    # Starting it resets the mask, so it must run before the mask is set.
    resource_tracker.ensure_running()
    # Processes inherit the mask, so Ctrl-C does not reach them even while they start.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.environ.pop("PYTHONWARNINGS")
        if given is not None:
            os.environ["PYTHONWARNINGS"] = given


_shards: Shards
"""The shards that this worker process works on, handed over once."""


def _begin(work: multiprocessing.Queue[Shards]) -> None:
    global _shards
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _use_one_thread()
    _shards = work.get()


def _use_one_thread() -> None:
    # The processes already provide the parallelism; tokenizer threads would only compete with them.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _end_with_parent() -> None:
    """Exit when the parent does, even if it was killed: nobody is waiting for the work any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _store(number: int) -> tuple[int, Entries]:
    return number, _shards.store(number, _shards.make(number))


def on_ray(address: str) -> Workers:
    """Return the nodes of a Ray cluster, which make the shards as tasks while this process writes them.

    So the nodes need no shared disk, and Ray makes a shard again if it was lost with a worker. The tasks are those of
    Ray Core: Ray Data reads ahead in threads that do not end when it is left early, as after a refusal, and a thread
    that uses Ray after its shutdown connects again or aborts the process.

    Args:
        address: As for `ray.init`: `auto`, `local`, or `ray://HOST:PORT`.
    """

    def run(shards: Shards, numbers: Sequence[int]) -> Iterator[tuple[int, Entries]]:
        if not numbers:
            return
        ray = _connected(address)
        try:
            make = ray.remote(_make)
            # In a list it arrives as a reference, which each worker process resolves only once.
            given = [ray.put(shards)]
            left = iter(numbers)
            # Twice the processors: each has work while this process writes, and what waits to be written is bounded.
            most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
            tasks = [make.remote(given, number) for number in islice(left, most)]
            while tasks:
                (done,), tasks = ray.wait(tasks)
                tasks += [make.remote(given, number) for number in islice(left, 1)]
                number, shard = ray.get(done)
                yield number, shards.store(number, shard)
        except ray.exceptions.RayError as error:
            if isinstance(cause := getattr(error, "cause", None), UserError):
                raise UserError(str(cause)) from None
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
    except ImportError:
        raise UserError("--ray needs Ray, which is not installed: pip install -e '.[ray]' in the clone") from None
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        if port.isdigit():
            # Ray itself would keep trying for minutes.
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"cannot reach a Ray cluster at {address}: {reason}") from None
    return ray


def _make(given: list[Any], number: int) -> tuple[int, Shard]:
    """Make one shard in a worker process of Ray."""
    shard = _resolved(given[0]).make(number)
    # A view of memory cannot be sent.
    return number, Shard(shard.rows, {name: bytes(content) for name, content in shard.contents.items()})


@lru_cache(maxsize=1)
def _resolved(reference: Any) -> Shards:
    import ray

    _use_one_thread()
    shards: Shards = ray.get(reference)
    return shards
