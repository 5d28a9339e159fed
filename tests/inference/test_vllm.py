"""The adapter against a stand-in for vLLM, with the parts of its API that are used; docs/backends.md has a real run."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from needlework.errors import ModelError
from needlework.inference import vllm
from needlework.inference.backend import TooLongError
from needlework.inference.hf import HFBackend
from needlework.inference.vllm import VLLMBackend, load
from needlework.models.chat import Renderer
from tests.inference.test_hf import kv_asks, run, sweep_asks


@dataclass
class SamplingParams:
    temperature: float
    max_tokens: int
    stop: list[str] | None
    stop_token_ids: list[int] | None


@dataclass
class FakeLLM:
    """Answers token ids with a transformers model, as `vllm.LLM` does with its own."""

    model: LlamaForCausalLM
    max_model_len: int = 4096

    @property
    def llm_engine(self) -> Any:
        return SimpleNamespace(model_config=SimpleNamespace(max_model_len=self.max_model_len))

    def generate(self, prompts: list[dict[str, list[int]]], sampling: SamplingParams, *, use_tqdm: bool) -> list[Any]:
        assert not use_tqdm
        assert sampling.temperature == 0
        return [self._one(prompt["prompt_token_ids"], sampling) for prompt in prompts]

    def _one(self, ids: list[int], sampling: SamplingParams) -> Any:
        ends = [*(sampling.stop_token_ids or []), self.model.generation_config.eos_token_id]
        output = self.model.generate(
            torch.tensor([ids]), max_new_tokens=sampling.max_tokens, do_sample=False, eos_token_id=ends
        )
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(output[0, len(ids) :].tolist()))])


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    made: Any = ModuleType("vllm")
    made.SamplingParams = SamplingParams
    made.TokensPrompt = dict
    made.LLM = lambda **options: SimpleNamespace(options=options)
    monkeypatch.setitem(sys.modules, "vllm", made)
    return made


@pytest.fixture
def llm(module: Any, model: LlamaForCausalLM) -> FakeLLM:
    return FakeLLM(model)


def test_the_same_token_ids_are_asked_and_answers_stand_for_their_prompts(llm: FakeLLM, renderer: Renderer) -> None:
    asks = kv_asks(1) + sweep_asks()
    backend: Any = VLLMBackend(llm, renderer)
    assert run(backend, asks) == run(HFBackend(llm.model, renderer), asks)


def test_answers_are_cut_where_scoring_reads_no_further(llm: FakeLLM, renderer: Renderer) -> None:
    asks, backend = kv_asks(1), VLLMBackend(llm, renderer)
    (whole, *_) = backend.answer(asks, max_new_tokens=12, stop=None)
    (cut, *_) = backend.answer(asks, max_new_tokens=12, stop=whole.output[3])
    assert cut.output == whole.output.split(whole.output[3])[0]
    assert whole.output_tokens == 12


def test_batches_are_bounded_and_keep_what_prompts_share_together(
    llm: FakeLLM, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "BATCH", 4)
    asks = kv_asks(2, needles=4)
    mixed = [asks[index] for index in (0, 4, 1, 5, 2, 6, 3, 7)]
    batches = VLLMBackend(llm, renderer).batches(mixed, max_new_tokens=5)
    assert [len({mixed[index].haystack.id for index in batch}) for batch in batches] == [1, 1]


def test_a_prompt_beyond_the_context_is_an_error(llm: FakeLLM, renderer: Renderer) -> None:
    llm.max_model_len = 100
    with pytest.raises(TooLongError, match=r"needle 0/0 needs \d+ \+ 24 tokens, but the model's context is 100"):
        VLLMBackend(llm, renderer).batches(kv_asks(1), max_new_tokens=24)


def test_a_model_is_loaded_with_prefix_caching_and_the_context_that_fits(
    module: Any, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_WORKER_MULTIPROC_METHOD", raising=False)
    options = load(str(model_folder), precision="bf16").options
    assert options["max_model_len"] == -1
    # A forked engine does not get a GPU that this process has asked about.
    assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert options["model"] == str(model_folder)
    assert (options["dtype"], options["enable_prefix_caching"]) == ("bfloat16", True)
    assert not options["trust_remote_code"]


def test_an_adapter_alone_is_refused(module: Any, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "x"}')
    with pytest.raises(ModelError, match="is an adapter alone"):
        load(str(tmp_path), precision="fp32")


def test_without_vllm_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModelError, match=r"needs vLLM\. Install it, and Needlework again after it"):
        load("m", precision="fp32")
