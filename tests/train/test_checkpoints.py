from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import LlamaForCausalLM

from needlework.errors import UserError
from needlework.train.checkpoints import (
    check_disk,
    full_disk_explained,
    keep_only,
    last_complete,
    load_optimizer,
    load_weights,
    mark_complete,
    read_optimizer,
    save_optimizer,
    save_weights,
    steps_done,
    whole,
)
from needlework.train.trainable import select


def checkpoint(folder: Path, step: int, *, complete: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "weights").write_bytes(b"half")
    if complete:
        mark_complete(path)
    return path


def test_the_last_is_by_number_and_complete(tmp_path: Path) -> None:
    checkpoint(tmp_path, 8)
    last, cut_off = checkpoint(tmp_path, 10), checkpoint(tmp_path, 12, complete=False)
    assert steps_done(tmp_path) == 10
    assert last_complete(tmp_path) == last
    assert not cut_off.exists()


def test_a_copy_that_a_user_put_there_is_left_alone(tmp_path: Path) -> None:
    last = checkpoint(tmp_path, 4)
    copied = tmp_path / "checkpoint-best"
    shutil.copytree(last, copied)
    (copied / "complete").unlink()
    assert (last_complete(tmp_path), steps_done(tmp_path)) == (last, 4)
    keep_only(tmp_path, {6})
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint-best"]


@pytest.mark.parametrize("name", ["trained.safetensors", "schedule.json", "rng_state.pth"])
@pytest.mark.parametrize("content", [b"", b'{"a": 1'])
def test_a_damaged_checkpoint_is_named_and_kept(tmp_path: Path, name: str, content: bytes) -> None:
    folder = checkpoint(tmp_path, 4)
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} is damaged\. Delete the folder {folder}"):
        last_complete(tmp_path)
    assert folder.exists()


def test_there_may_be_none(tmp_path: Path) -> None:
    checkpoint(tmp_path, 2, complete=False)
    assert steps_done(tmp_path) == 0
    assert last_complete(tmp_path) is None


def test_only_what_is_trained_is_kept(model: LlamaForCausalLM, tmp_path: Path) -> None:
    select(model, "attention")
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    save_weights(model, tmp_path)
    with torch.no_grad():
        for each in model.parameters():
            each.zero_()
    load_weights(model, tmp_path)
    for name, each in model.named_parameters():
        assert torch.equal(each, before[name]) if each.requires_grad else not each.any()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("rank", "sharded"), [("0", False), ("1", True)])
def test_only_the_first_process_holds_what_is_put_together(
    rank: str, sharded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"weight": distribute_tensor(torch.ones(4), init_device_mesh("cpu", (1,)))}
    monkeypatch.setenv("RANK", rank)
    assert isinstance(whole(state)["weight"], DTensor) is sharded


def test_an_optimizer_goes_on_where_another_was() -> None:
    def step(parameter: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        (parameter**2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = torch.optim.AdamW([parameter])
    step(parameter, optimizer)
    other = copy.deepcopy(parameter)
    resumed = torch.optim.AdamW([other])
    load_optimizer(resumed, copy.deepcopy(whole(optimizer.state_dict())))
    step(parameter, optimizer)
    step(other, resumed)
    assert torch.equal(parameter, other)


def test_a_disk_without_room_is_foreseen(
    model: LlamaForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))(total=10, used=10, free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"training needs 0\.0 GiB of disk.* 0\.0 GiB free"):
        check_disk(model, tmp_path, count=3)


@pytest.mark.parametrize(
    "text", ["No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed writing file"]
)
def test_a_full_disk_is_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="is full"), full_disk_explained(tmp_path):
        raise RuntimeError(text)


def test_a_file_that_may_not_be_so_large_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write to .*File too large"), full_disk_explained(tmp_path):
        raise SafetensorError("I/O error: File too large (os error 27)")


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), full_disk_explained(tmp_path):
        raise RuntimeError("shapes differ")


def test_an_adapter_alone_takes_the_disk_of_what_is_trained(
    model: LlamaForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora = select(model, "lora", lora_rank=1)
    trained = sum(each.numel() for each in lora.parameters() if each.requires_grad)
    # Three checkpoints of 12 bytes a parameter and the adapter, of 4.
    usage = type(shutil.disk_usage(tmp_path))(total=10**9, used=0, free=(3 * 12 + 4) * trained)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    check_disk(lora, tmp_path, count=3, whole=False)
    with pytest.raises(UserError, match="training needs"):
        check_disk(lora, tmp_path, count=3)


def test_an_optimizer_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(3, 2))
    optimizer = torch.optim.AdamW([weight], lr=1 / 3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for _ in range(3):
        weight.grad = torch.randn(3, 2)
        optimizer.step()
        schedule.step()
    save_optimizer(optimizer.state_dict(), schedule.state_dict(), tmp_path)
    state, scheduled = read_optimizer(tmp_path)
    for key, value in optimizer.state_dict()["state"][0].items():
        assert torch.equal(state["state"][0][key], value)
    assert state["param_groups"][0]["lr"] == optimizer.param_groups[0]["lr"]
    assert scheduled == schedule.state_dict()
