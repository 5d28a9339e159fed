"""Trainings in processes of their own, which can be killed, or work together.

They are forked from one process that has imported everything: each starts in milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["needlework.train.trainer", "needlework.tasks", "tests.conftest"])


def start(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Start a function of a test module in a process of its own."""
    process = SERVER.Process(target=target, args=arguments)
    process.start()
    return process


def together(count: int, target: Callable[..., None], *arguments: Any) -> list[int | None]:
    """Call a function in so many processes that find each other as torchrun's do; return their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = [start(_work, rank, count, port, target, arguments) for rank in range(count)]
    for worker in workers:
        worker.join()
    return [worker.exitcode for worker in workers]


def _work(rank: int, count: int, port: int, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ |= {key: str(value) for key, value in numbers.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    target(*arguments)
