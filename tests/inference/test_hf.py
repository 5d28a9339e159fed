from __future__ import annotations

import gc
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from needlework.errors import ModelError
from needlework.haystack import Haystack, Needle
from needlework.inference.backend import Ask
from needlework.inference.hf import MOST_TOKENS, HFBackend, tokens_held
from needlework.inference.tree import Decode, Held
from needlework.models.chat import Renderer, common_length
from needlework.tasks import make_task
from needlework.tasks.protocol import make
from tests.conftest import make_tokenizer
from tests.train.families import MODELS, tiny


def kv_asks(count: int = 4, needles: int = 5, items: int = 10) -> list[Ask]:
    task = make_task("simple_dict")
    made = [make(task, np.random.default_rng([3, index]), items, needles, id=str(index)) for index in range(count)]
    return [Ask(haystack, needle) for haystack in made for needle in haystack.needles]


def sweep_asks() -> list[Ask]:
    """One question with its document at each position, as in MDQA."""
    asks = []
    for place in range(4):
        items = [f"Document {number}: {number * 37} and {number * 53}" for number in range(3)]
        items.insert(place, "Document gold: 8642")
        needle = Needle(str(place), "q", "Which is it?", "8642", ("8642",), place)
        asks.append(Ask(Haystack(str(place), "sweep", "Read.", tuple(items), (needle,)), needle))
    return asks


def run(backend: HFBackend, asks: list[Ask], stop: str | None = None) -> list[str]:
    outputs = [""] * len(asks)
    for batch in backend.batches(asks, max_new_tokens=24):
        answers = backend.answer([asks[index] for index in batch], max_new_tokens=24, stop=stop)
        for index, answer in zip(batch, answers, strict=True):
            outputs[index] = answer.output
    return outputs


def reference(model: PreTrainedModel, renderer: Renderer, asks: list[Ask]) -> list[str]:
    """Transformers' own greedy decoding, one prompt at a time."""
    outputs = []
    for ask in asks:
        ids = torch.tensor([renderer.prompt_ids(ask.haystack, ask.needle)])
        output = model.generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=0, eos_token_id=2)
        outputs.append(renderer.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))
    return outputs


@pytest.mark.parametrize("max_batch_tokens", [700, 2000, 32768])
def test_answers_equal_unshared_greedy_decoding(
    model: LlamaForCausalLM, renderer: Renderer, max_batch_tokens: int
) -> None:
    asks = kv_asks() + sweep_asks() + kv_asks(2, needles=1, items=4)
    backend = HFBackend(model, renderer, max_batch_tokens=max_batch_tokens)
    assert run(backend, asks) == reference(model, renderer, asks)


@pytest.mark.parametrize(("gibibytes", "tokens"), [(80, MOST_TOKENS), (24, 11723), (12, 1)])
def test_a_batch_holds_what_the_gpu_takes_beside_the_weights(
    monkeypatch: pytest.MonkeyPatch, gibibytes: int, tokens: int
) -> None:
    # Llama-2-7B in bf16: 32 layers with 32 heads of 128, 512 KiB for each token.
    llama: Any = SimpleNamespace(
        device=torch.device("cuda"),
        dtype=torch.bfloat16,
        config=LlamaConfig(),
        get_memory_footprint=lambda: 6_738_415_616 * 2,
    )
    memory = SimpleNamespace(total_memory=gibibytes * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
    assert tokens_held(llama) == tokens


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_type_that_shares_answers_the_same_unshared(renderer: Renderer, name: str) -> None:
    model = tiny(name).eval()
    # Three layers with windows of nine tokens, capped scores, several ropes.
    model.resize_token_embeddings(len(renderer.tokenizer))
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.3)
    model.config.max_position_embeddings = 4096
    backend, asks = HFBackend(model, renderer), kv_asks(2, needles=3) + sweep_asks()
    assert backend.share
    assert run(backend, asks) == reference(model, renderer, asks)


def test_short_prompts_of_different_length_share_little_and_are_still_right(
    model: LlamaForCausalLM, renderer: Renderer
) -> None:
    template, renderer.tokenizer.chat_template = renderer.tokenizer.chat_template, None
    try:
        texts = ["12", "12 13 14", "7 8 9 10 11", "12 13", "7", "7 8 9 1"]
        needles = [Needle(text, text, text, "x", ("x",), -1) for text in texts]
        asks = [Ask(Haystack(each.id, "t", "", (), (each,)), each) for each in needles]
        assert run(HFBackend(model, renderer), asks) == reference(model, renderer, asks)
    finally:
        renderer.tokenizer.chat_template = template


def test_shared_prefixes_are_computed_once(
    model: LlamaForCausalLM, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks, seen = kv_asks(3, needles=8, items=16), []
    forward = HFBackend._forward
    monkeypatch.setattr(
        HFBackend,
        "_forward",
        lambda self, ids, step, wanted: seen.append(ids.numel()) or forward(self, ids, step, wanted),
    )
    backend = HFBackend(model, renderer)
    for batch in backend.batches(asks, max_new_tokens=1):
        backend.answer([asks[index] for index in batch], max_new_tokens=1, stop=None)
    prompts = [len(renderer.prompt_ids(ask.haystack, ask.needle)) for ask in asks]
    assert sum(seen) < 0.35 * sum(prompts)


def test_a_batch_is_freed_without_the_garbage_collector(model: LlamaForCausalLM, renderer: Renderer) -> None:
    gc.collect()
    gc.disable()
    try:
        run(HFBackend(model, renderer), kv_asks(2))
        assert not [each for each in gc.get_objects() if type(each) in (Held, Decode)]
    finally:
        gc.enable()


def test_a_model_that_does_not_share_answers_the_same_whatever_its_own_settings_ask_for(
    model: LlamaForCausalLM, renderer: Renderer
) -> None:
    asks = kv_asks(2) + sweep_asks()
    shared, alone = (HFBackend(model, renderer, share=share) for share in (True, False))
    tokens = shared.generate([renderer.prompt_ids(asks[0].haystack, asks[0].needle)], max_new_tokens=24, stop=None)
    # So that some answers end, and others are cut off.
    shared.ends = alone.ends = {tokens[0][7]}
    model.generation_config.no_repeat_ngram_size = 2
    found, expected = (each.answer(asks, max_new_tokens=24, stop=None) for each in (alone, shared))
    assert found == expected
    assert min(each.output_tokens or 0 for each in found) <= 7
    assert model.generation_config.no_repeat_ngram_size == 2


def test_an_answer_ends_with_the_turn_though_the_model_names_another_end(model: LlamaForCausalLM) -> None:
    tokenizer = make_tokenizer()
    marker = tokenizer.eos_token_id
    tokenizer.eos_token = "<s>"
    model.generation_config.eos_token_id = 1
    assert HFBackend(model, Renderer(tokenizer)).ends == {0, 1, marker}


def test_a_stop_cuts_the_output(model: LlamaForCausalLM, renderer: Renderer) -> None:
    asks = kv_asks(2)
    whole = reference(model, renderer, asks)
    stop = next(character for text in whole for character in text[3:] if character.isalnum())
    assert run(HFBackend(model, renderer), asks, stop) == [text.split(stop)[0] for text in whole]


def test_batches_hold_every_ask_once_and_keep_the_limits(model: LlamaForCausalLM, renderer: Renderer) -> None:
    asks = kv_asks(6) + sweep_asks()
    backend = HFBackend(model, renderer, max_batch=7, max_batch_tokens=3000)
    batches = backend.batches(asks, max_new_tokens=24)
    assert sorted(index for batch in batches for index in batch) == list(range(len(asks)))
    for batch in batches:
        prompts = sorted(renderer.prompt_ids(asks[index].haystack, asks[index].needle) for index in batch)
        shared = sum(common_length(pair) for pair in pairwise(prompts))
        assert len(batch) <= 7
        assert sum(len(prompt) + 24 for prompt in prompts) - shared <= 3000
    assert backend.batches(asks, max_new_tokens=24) == batches


def test_a_haystack_is_not_torn_apart_if_it_fits(model: LlamaForCausalLM, renderer: Renderer) -> None:
    asks = kv_asks(6, needles=5)
    batches = HFBackend(model, renderer, max_batch=12).batches(asks, max_new_tokens=24)
    for batch in batches:
        ids = [asks[index].haystack.id for index in batch]
        assert all(ids.count(each) == 5 for each in ids)


def test_a_prompt_beyond_the_context_is_an_error(model: LlamaForCausalLM, renderer: Renderer) -> None:
    model.config.max_position_embeddings = 100
    with pytest.raises(ModelError, match=r"needle 0/0 needs \d+ \+ 24 tokens, but the model's context is 100"):
        HFBackend(model, renderer).batches(kv_asks(1), max_new_tokens=24)


@pytest.mark.slow
def test_the_embedded_model_answers_the_same_shared_and_unshared() -> None:
    from needlework.models.loading import load_model, load_tokenizer

    renderer = Renderer(load_tokenizer("smollm2-135m"))
    model = load_model("smollm2-135m")
    asks = kv_asks(3, needles=3, items=5) + sweep_asks()
    assert run(HFBackend(model, renderer), asks) == run(HFBackend(model, renderer, share=False), asks)
