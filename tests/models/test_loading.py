from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from needlework.errors import ModelError
from needlework.models.loading import (
    fastest_precision,
    fingerprint,
    load_model,
    load_tokenizer,
    tokenizer_fingerprint,
)
from tests.conftest import make_tokenizer


def test_a_local_folder_loads_in_the_precision_asked_for(model_folder: Path) -> None:
    assert load_model(str(model_folder)).dtype == torch.float32
    assert load_model(str(model_folder), precision="bf16").dtype == torch.bfloat16
    assert load_tokenizer(str(model_folder)).chat_template


def test_a_missing_folder_is_a_user_error() -> None:
    with pytest.raises(ModelError, match=r"there is no model folder \./nothing/here"):
        load_model("./nothing/here")


def test_a_folder_without_a_model_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load the model"):
        load_model(str(tmp_path))


def test_an_unknown_hub_name_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="cannot load the model 'nobody/nothing'"):
        load_tokenizer("nobody/nothing")


def test_a_truncated_weight_file_is_a_user_error(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(model_folder, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError, match="cannot load the model"):
        load_model(str(folder))


def test_the_fingerprint_changes_with_the_weights(model_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    assert fingerprint(str(copy)) == fingerprint(str(model_folder))
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    assert fingerprint(str(copy)) != fingerprint(str(model_folder))
    assert fingerprint("org/name") is None


def test_the_fastest_precision_is_one_of_the_two() -> None:
    assert fastest_precision() in ("fp32", "bf16")


def test_a_tokenizers_fingerprint_is_that_of_what_it_makes() -> None:
    tokenizer = make_tokenizer()
    first = tokenizer_fingerprint(tokenizer)
    tokenizer(["one", "two three"], padding=True, truncation=True, max_length=4)
    assert tokenizer_fingerprint(tokenizer) == tokenizer_fingerprint(make_tokenizer()) == first
    assert tokenizer_fingerprint(make_tokenizer("threes")) != first
    assert tokenizer_fingerprint(make_tokenizer(template=None)) != first
    tokenizer.eos_token = "<s>"
    assert tokenizer_fingerprint(tokenizer) != first
