from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from peft import LoraConfig, PeftConfig, PeftModel, PromptTuningConfig, get_peft_model

from needlework.errors import ModelError
from needlework.models.loading import (
    content,
    fastest_precision,
    fingerprint,
    license_of,
    load_config,
    load_model,
    load_tokenizer,
    tokenizer_fingerprint,
)
from needlework.train.trainable import save_adapter, select
from tests.conftest import make_tokenizer


def test_a_local_folder_loads_in_the_precision_asked_for(model_folder: Path) -> None:
    assert load_model(str(model_folder)).dtype == torch.float32
    assert load_model(str(model_folder), precision="bf16").dtype == torch.bfloat16
    assert load_tokenizer(str(model_folder)).chat_template


def test_a_missing_folder_is_a_user_error() -> None:
    with pytest.raises(ModelError, match=r"there is no model folder \./nothing/here"):
        load_model("./nothing/here")


def test_a_home_that_is_not_there_is_a_user_error() -> None:
    with pytest.raises(ModelError, match="there is no model folder ~nobody-of-that-name/x"):
        load_model("~nobody-of-that-name/x")


def test_a_folder_without_a_model_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"the folder {tmp_path} holds no model: it has no config\.json\.$"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(("given", "inside"), [("run", "train/model"), ("run/train", "model")])
def test_the_folder_of_a_run_says_where_its_model_is(tmp_path: Path, given: str, inside: str) -> None:
    (tmp_path / "run" / "train" / "model").mkdir(parents=True)
    folder = tmp_path / given
    with pytest.raises(ModelError, match=rf"That of a run is in {folder / inside}\."):
        load_model(str(folder))


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


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_size": 64}, r"its weights are not of the sizes that its config\.json gives"),
        ({"hidden_size": "many"}, "'hidden_size' expected int"),
        ({"quantization_config": {"quant_method": "awq"}}, "pip install"),
    ],
)
def test_a_config_that_does_not_fit_is_a_user_error(
    model_folder: Path, tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(model_folder, folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(ModelError, match=f"cannot load the model .*{reason}"):
        load_model(str(folder))


def test_weights_that_are_no_weights_are_a_user_error(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(model_folder, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"garbage")
    with pytest.raises(ModelError, match="cannot load the model"):
        load_model(str(folder))


def adapter(folder: Path, base: str, rank: int = 2) -> str:
    """Write a LoRA adapter whose matrices are not zero."""
    model = select(load_model(base), "lora", lora_rank=rank)
    torch.manual_seed(1)
    for name, each in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(each)
    save_adapter(model, folder, None)
    return str(folder)


def test_an_adapter_alone_loads_as_the_model_it_changes(model_folder: Path, tmp_path: Path) -> None:
    name, ids = adapter(tmp_path, str(model_folder)), torch.arange(9)[None]
    expected = PeftModel.from_pretrained(load_model(str(model_folder)), name)
    with warnings.catch_warnings(record=True) as warned:
        found = load_model(name)
    assert not warned
    assert type(found) is type(load_model(str(model_folder)))
    torch.testing.assert_close(found(ids).logits, expected(ids).logits, rtol=1e-4, atol=1e-4)
    assert load_model(name, precision="bf16").dtype == torch.bfloat16
    assert load_config(name).model_type == "llama"
    # PEFT saves no tokenizer with it.
    assert load_tokenizer(name).chat_template == load_tokenizer(str(model_folder)).chat_template


def test_an_adapter_whose_model_is_gone_is_a_user_error(model_folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(model_folder, base)
    name = adapter(tmp_path / "adapter", str(base))
    shutil.rmtree(base)
    with pytest.raises(ModelError, match=r"is an adapter: there is no model folder .*base_model_name_or_path"):
        load_model(name)


def test_an_adapter_of_another_size_is_a_user_error(model_folder: Path, tmp_path: Path) -> None:
    name = adapter(tmp_path, str(model_folder))
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"r": 3}))
    with pytest.raises(ModelError, match=r"cannot load the model .* size mismatch"):
        load_model(name)


def test_an_adapter_may_bring_further_tokens(model_folder: Path, tmp_path: Path) -> None:
    base, tokenizer = load_model(str(model_folder)), load_tokenizer(str(model_folder))
    tokenizer.add_tokens(["<|one|>", "<|two|>"])
    base.resize_token_embeddings(len(tokenizer))
    trained = ["embed_tokens", "lm_head"]
    adapted = get_peft_model(
        base, LoraConfig(target_modules=["q_proj"], modules_to_save=trained, task_type="CAUSAL_LM")
    )
    adapted.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ids = torch.arange(len(tokenizer) - 9, len(tokenizer))[None]
    torch.testing.assert_close(load_model(str(tmp_path))(ids).logits, adapted(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4), "it is an adapter of prompts"),
        (LoraConfig(target_modules=["q_proj"], lora_bias=True, task_type="CAUSAL_LM"), "Impossible to merge LoRA"),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_a_user_error(
    model_folder: Path, tmp_path: Path, config: PeftConfig, reason: str
) -> None:
    get_peft_model(load_model(str(model_folder)), config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=rf"cannot load the model .*: {reason}"):
        load_model(str(tmp_path))


def test_an_adapter_that_names_no_model_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="does not name the model it adapts"):
        load_config(str(tmp_path))


def test_the_license_is_what_the_models_card_says(tmp_path: Path) -> None:
    assert license_of("smollm2-135m") == {"license": "apache-2.0"}
    assert license_of(str(tmp_path)) == {}
    (tmp_path / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\nA model.")
    assert license_of(str(tmp_path)) == {"license": "mit"}
    (tmp_path / "README.md").write_text("---\n[broken\n---\n")
    assert license_of(str(tmp_path)) == {}


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_the_fingerprint_changes_with_the_weights(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"weights")
    before = fingerprint(str(tmp_path))
    assert fingerprint(str(tmp_path)) == before
    path.write_bytes(b"Weights")
    assert fingerprint(str(tmp_path)) != before
    assert fingerprint("org/name") is None


def test_the_content_of_a_model_is_told_from_every_byte_of_it(model_folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(model_folder, copied)
    (copied / "README.md").write_text("A card says nothing of answers.")
    assert content(str(copied)) == content(str(model_folder))
    weights = bytearray((copied / "model.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copied / "model.safetensors").write_bytes(weights)
    assert content(str(copied)) != content(str(model_folder))


def test_the_content_of_an_adapter_is_also_that_of_its_model(model_folder: Path, tmp_path: Path) -> None:
    copied, adapter = tmp_path / "copy", tmp_path / "adapter"
    shutil.copytree(model_folder, copied)
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(copied)}))
    before = content(str(adapter))
    (copied / "config.json").write_text("{}")
    assert content(str(adapter)) != before


def test_the_content_of_a_model_on_the_hub_is_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(_commit_hash="abc")
    monkeypatch.setattr("needlework.models.loading.load_config", lambda name: found)
    assert content("me/model") == "me/model@abc"
    found._commit_hash = None
    assert content("me/model") is None


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_that_imitates_bf16_computes_in_fp32(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # Imitated, it counts as supported unless asked otherwise.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert fastest_precision.__wrapped__() == expected


def test_a_tokenizers_fingerprint_is_that_of_what_it_makes() -> None:
    tokenizer = make_tokenizer()
    first = tokenizer_fingerprint(tokenizer)
    tokenizer(["one", "two three"], padding=True, truncation=True, max_length=4)
    assert tokenizer_fingerprint(tokenizer) == tokenizer_fingerprint(make_tokenizer()) == first
    assert tokenizer_fingerprint(make_tokenizer("threes")) != first
    assert tokenizer_fingerprint(make_tokenizer(template=None)) != first
    tokenizer.eos_token = "<s>"
    assert tokenizer_fingerprint(tokenizer) != first


def test_loading_leaves_other_libraries_as_loud_as_they_were(model_folder: Path) -> None:
    notes = transformers.utils.logging
    before, shows = notes.get_verbosity(), notes.is_progress_bar_enabled()
    try:
        for level, wanted in ((notes.WARNING, True), (notes.ERROR, False)):
            notes.set_verbosity(level)
            (notes.enable_progress_bar if wanted else notes.disable_progress_bar)()
            load_model(str(model_folder))
            load_tokenizer("smollm2-135m")
            assert (notes.get_verbosity(), notes.is_progress_bar_enabled()) == (level, wanted)
    finally:
        notes.set_verbosity(before)
        (notes.enable_progress_bar if shows else notes.disable_progress_bar)()
