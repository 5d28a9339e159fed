"""One training in several processes, as torchrun and `accelerate launch` start them.

The launcher's environment says how many there are; without a launcher there is one. Only the first writes
files and prints. What it alone finds out is sent to the others, so that all do the same.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar, cast

from needlework.errors import UserError

Result = TypeVar("Result")

PATIENCE = timedelta(hours=2)
"""How long processes wait for one that works alone, such as to save a large model."""


def count() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_first() -> bool:
    """Return whether this is the process that writes files and prints."""
    return int(os.environ.get("RANK", 0)) == 0


def share(batch_size: int) -> int:
    """Return how many haystacks of a global batch fall to each process.

    Raises:
        UserError: If they cannot be split evenly; names batch sizes that can.
    """
    processes = count()
    if batch_size % processes:
        below, above = batch_size // processes * processes, (batch_size // processes + 1) * processes
        fitting = f"{below} or {above}" if below else f"{above}"
        raise UserError(
            f"a batch of {batch_size} haystacks cannot be split over {processes} processes. Set train.batch_size to "
            f"{fitting}, or launch a number of processes that divides {batch_size}."
        )
    return batch_size // processes


def refuse_several() -> None:
    """Refuse to run all stages in several processes.

    Raises:
        UserError: Says what to launch instead.
    """
    if count() > 1:
        raise agreed(
            UserError(
                f"a run evaluates in one process, and {count()} were launched. Launch `needlework finetune` with the "
                f"same --output, then continue with `needlework run` by itself."
            )
        )


def first(work: Callable[[], Result]) -> Result:
    """Let the first process do something while the others wait, and return its result in all of them.

    Raises:
        Exception: What `work` raises, in the first process; the others exit silently.
    """
    if count() == 1:
        return work()
    connect()
    from torch.distributed import broadcast_object_list

    outcome: list[object] = [None, False]
    error: Exception | None = None
    if is_first():
        try:
            outcome = [work(), False]
        except Exception as raised:
            outcome, error = [None, True], raised
    broadcast_object_list(outcome)
    if outcome[1]:
        raise error or SystemExit(2)
    return cast("Result", outcome[0])


def wait() -> None:
    """Wait until all processes are here."""
    first(lambda: None)


def agreed(error: UserError) -> BaseException:
    """Return what to raise where every process meets the same mistake: the first reports it, the others just exit."""
    return error if is_first() else SystemExit(2)


def connect() -> None:
    """Connect the processes, unless they are connected already."""
    import torch
    from accelerate import PartialState

    if not torch.distributed.is_initialized():
        # It also gives each process its own GPU.
        PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
        # Threads of the connection that outlive the interpreter abort the process.
        atexit.register(torch.distributed.destroy_process_group)
