"""Logging metrics to TensorBoard and W&B, in addition to `metrics.jsonl`, through Trainer's callbacks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from needlework import processes
from needlework.errors import UserError

if TYPE_CHECKING:
    from transformers import TrainerCallback

Tracker = Literal["tensorboard", "wandb"]


def check(trackers: Sequence[Tracker]) -> None:
    """Refuse trackers whose package is not installed; nothing is imported.

    Raises:
        UserError: Says how to install it.
    """
    for name in trackers:
        # A folder of that name, such as W&B leaves where it ran, is not the package.
        if (spec := find_spec(name)) is None or spec.origin is None:
            raise processes.agreed(
                UserError(f"train.trackers has {name}, which is not installed: pip install -e '.[{name}]' in the clone")
            )


@contextmanager
def tracking(trackers: Sequence[Tracker], logs: Path) -> Iterator[list[TrainerCallback]]:
    """Open the trackers in the first process, and close them however the training ends.

    Trainer would take their places from environment variables, which outlive a training.

    Args:
        trackers: Their names.
        logs: Receives what they write.

    Raises:
        UserError: If W&B does not start, as without a login.
    """
    callbacks: list[TrainerCallback] = []
    with ExitStack() as opened:
        if trackers:
            processes.first(lambda: callbacks.extend(_open(name, logs, opened) for name in trackers))
        yield callbacks


def _open(name: Tracker, logs: Path, opened: ExitStack) -> TrainerCallback:
    logs.mkdir(parents=True, exist_ok=True)
    if name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter
        from transformers.integrations.integration_utils import TensorBoardCallback

        writer = SummaryWriter(str(logs))
        opened.callback(writer.close)
        return TensorBoardCallback(writer)
    import wandb
    from transformers.integrations.integration_utils import WandbCallback

    try:
        opened.enter_context(wandb.init(project=os.environ.get("WANDB_PROJECT", "needlework"), dir=str(logs)))
    except wandb.errors.Error as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"W&B does not start: {reason}. Log in with `wandb login`, or set WANDB_MODE=offline."
        ) from None
    return WandbCallback()
