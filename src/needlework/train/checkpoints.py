"""Checkpoints: what training changes, in one form for any number of processes and any sharding.

A checkpoint holds the trained parameters and the optimizer's state whole. So one that two processes wrote,
each with half of the model, is continued by one that has all of it, and the reverse.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from needlework import processes
from needlework.errors import UserError
from needlework.storage import flush, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

COMPLETE = "complete"
"""Marker in a checkpoint folder: written last, so a checkpoint cut off by a kill is never resumed from."""

WEIGHTS, OPTIMIZER, SCHEDULE = "trained.safetensors", "optimizer.safetensors", "schedule.json"


def folder_of(checkpoints: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint, as Trainer names it."""
    return checkpoints / f"checkpoint-{step}"


def mark_complete(checkpoint: Path) -> None:
    """Mark a checkpoint that every process has written its part of."""
    processes.wait()
    if processes.is_first():
        # After a power cut the marker would otherwise vouch for files that are not on the disk.
        for path in checkpoint.iterdir():
            flush(path)
        (checkpoint / COMPLETE).touch()
        flush(checkpoint / COMPLETE)


def keep_only(checkpoints: Path, steps: set[int | None]) -> None:
    """Delete the checkpoints of all other steps; for when the newest of these is complete, and not before."""
    if processes.is_first():
        for step, folder in _folders(checkpoints).items():
            if step not in steps:
                shutil.rmtree(folder)


def last_complete(checkpoints: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, after deleting those that were not.

    Raises:
        UserError: If a file of it is damaged.
    """
    folders = _folders(checkpoints)
    for folder in folders.values():
        if not (folder / COMPLETE).exists():
            shutil.rmtree(folder)
    complete = [step for step, folder in folders.items() if folder.exists()]
    if not complete:
        return None
    newest = folders[max(complete)]
    if damaged := [path.name for path in sorted(newest.iterdir()) if not _is_readable(path)]:
        raise UserError(
            f"{newest / damaged[0]} is damaged. Delete the folder {newest}: the same command then continues from an "
            f"earlier checkpoint, or begins again."
        )
    return newest


def _is_readable(path: Path) -> bool:
    """Return whether a file of a checkpoint is as long and as well-formed as it says."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt"):
                return True
        if path.suffix == ".json":
            return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (SafetensorError, ValueError, RecursionError):
        return False
    return path.suffix != ".pth" or is_zipfile(path)


def steps_done(checkpoints: Path) -> int:
    """Return the step after which a training that was stopped continues; 0 where it begins."""
    return max((step for step, each in _folders(checkpoints).items() if (each / COMPLETE).exists()), default=0)


def _folders(checkpoints: Path) -> dict[int, Path]:
    """Return the checkpoints by their steps; what else a user has put there, such as a copy of one, is left alone."""
    found = ((re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in checkpoints.glob("checkpoint-*"))
    return {int(match[1]): path for match, path in found if match}


def whole(state: Any) -> Any:
    """Return nested state with its sharded tensors put together, on the CPU; every process must ask.

    Only the first, which writes, gets it: a copy in each would take the machine's memory as often as it has GPUs.
    """

    def gather(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.detach()
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        return full.cpu() if processes.is_first() else tensor

    return tree_map_only(torch.Tensor, gather, state)


def save_weights(model: torch.nn.Module, checkpoint: Path) -> None:
    """Write the trained parameters; every process must take part."""
    trained = whole({name: each for name, each in model.named_parameters() if each.requires_grad})
    if processes.is_first():
        checkpoint.mkdir(parents=True, exist_ok=True)
        save_file({name: each.contiguous() for name, each in trained.items()}, checkpoint / WEIGHTS)


def load_weights(model: torch.nn.Module, checkpoint: Path) -> None:
    """Read the trained parameters into a model, which may be sharded."""
    trained = load_file(checkpoint / WEIGHTS)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(_like(trained[name], parameter))


def save_optimizer(state: dict[str, Any], schedule: dict[str, Any], checkpoint: Path) -> None:
    """Write the whole state of an optimizer, and that of its schedule, without pickle."""
    tensors = {f"{index}.{key}": value for index, each in state["state"].items() for key, value in each.items()}
    save_file({name: each.contiguous() for name, each in tensors.items()}, checkpoint / OPTIMIZER)
    write_json(checkpoint / SCHEDULE, {"param_groups": state["param_groups"], "schedule": schedule})


def read_optimizer(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what `save_optimizer` wrote: the optimizer's state, and the schedule's."""
    rest = json.loads((checkpoint / SCHEDULE).read_text(encoding="utf-8"))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in load_file(checkpoint / OPTIMIZER).items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = value
    return {"state": state, "param_groups": rest["param_groups"]}, rest["schedule"]


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give an optimizer the whole state of another, sharded as its parameters are."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for index, values in state["state"].items():
        state["state"][index] = {
            # The count of steps belongs to the parameter as a whole.
            key: _like(value, parameters[index]) if value.dim() else value
            for key, value in values.items()
        }
    optimizer.load_state_dict(state)


def _like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    if isinstance(parameter, DTensor):
        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value


def check_disk(model: PreTrainedModel, folder: Path, *, count: int, whole: bool = True) -> None:
    """Refuse a training for whose checkpoints and model the disk has no room.

    Args:
        model: The model, with what is not trained frozen.
        folder: Where they go.
        count: The most checkpoints that there are at a time.
        whole: Whether the model is saved whole, not what is trained alone.

    Raises:
        UserError: Says how much is needed and how much is free.
    """
    weights = 0
    for name, each in model.named_parameters():
        if whole or each.requires_grad:
            # LoRA is merged in fp32.
            weights += each.numel() * (4 if ".base_layer." in name else each.element_size())
    # The parameter and AdamW's two moments.
    trained = sum(each.numel() * (each.element_size() + 8) for each in model.parameters() if each.requires_grad)
    present = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    needed, free = count * trained + weights - present, shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"training needs {needed / 2**30:.1f} GiB of disk for checkpoints and the model, but {folder} has "
            f"{free / 2**30:.1f} GiB free. Make room or give another --output."
        )


@contextmanager
def full_disk_explained(folder: Path) -> Iterator[None]:
    """Tell of a disk that is full, or takes no file of this size, as a user error."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        # Both libraries report what a disk refuses in their own words instead of as an OSError.
        if any(words in str(error) for words in ("File too large", "Permission denied", "Read-only file system")):
            raise UserError(
                f"cannot write to {folder}: {error}. Give another --output, and run the same command again."
            ) from None
        if any(words in str(error) for words in ("No space left", "quota exceeded", "PytorchStreamWriter")):
            free = shutil.disk_usage(folder).free / 2**20
            raise UserError(
                f"the disk of {folder} is full ({free:.0f} MiB free). Make room and run the same command again."
            ) from None
        raise
