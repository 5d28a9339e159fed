from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from needlework.errors import UserError
from needlework.train.arguments import check_sharding, make
from tests.train.test_trainer import SETTINGS


def test_a_batch_is_accumulated_from_single_rows(tmp_path: Path) -> None:
    arguments = make(SETTINGS, "fp32", 0, tmp_path)
    assert arguments.per_device_train_batch_size == 1
    assert arguments.gradient_accumulation_steps == SETTINGS.batch_size


@pytest.mark.parametrize("launcher", ["no", "bf16", "fp16"])
@pytest.mark.parametrize(("precision", "mixed"), [("fp32", "no"), ("bf16", "bf16")])
def test_the_precision_is_the_recipes_whatever_the_launcher_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str, precision: Any, mixed: str
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    assert make(SETTINGS, precision, 0, tmp_path).mixed_precision == mixed


def test_a_batch_that_the_processes_cannot_share_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="a batch of 2 haystacks cannot be split over 3 processes"):
        make(SETTINGS, "fp32", 0, tmp_path)


def test_fsdp_1_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(UserError, match="Launch with --fsdp_version 2"):
        make(SETTINGS, "fp32", 0, tmp_path)


def test_fsdp_gathers_a_layer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    for name in ("FSDP_VERSION", "FSDP_AUTO_WRAP_POLICY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    make(SETTINGS, "fp32", 0, tmp_path)
    assert (os.environ["FSDP_VERSION"], os.environ["FSDP_AUTO_WRAP_POLICY"]) == ("2", "TRANSFORMER_BASED_WRAP")


def test_sharding_that_is_asked_for_and_not_done_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_sharding(False)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    check_sharding(True)
    with pytest.raises(UserError, match="on GPUs under a launcher only"):
        check_sharding(False)
