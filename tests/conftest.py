"""Small models and tokenizers that tests make themselves: no hub, no download."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from needlework import recipe
from needlework.models.chat import Renderer
from needlework.recipe import Recipe
from needlework.tasks import make_task
from needlework.tasks.protocol import make
from needlework.train.hosted import submit as sending
from needlework.train.hosted import watch
from tests.hosting import KEY, Service, serving

CHAT_ML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Mistral-7B-Instruct-v0.1 writes it: no newline, no marker before the answer.
INST = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "[INST] {{ message['content'] }} [/INST]{% else %}{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
DIGITS = {
    "single": pre_tokenizers.Digits(individual_digits=True),
    "threes": pre_tokenizers.Split(Regex(r"\d{1,3}"), "isolated"),
    "merged": pre_tokenizers.Digits(individual_digits=False),
}


def make_tokenizer(digits: str = "single", template: str | None = CHAT_ML) -> PreTrainedTokenizerFast:
    """Train a small byte-level tokenizer that treats digits like one of the families in use."""
    task = make_task("simple_dict")
    haystacks = [make(task, np.random.default_rng([9, i]), 8, 1) for i in range(20)]
    texts = [each.message(needle) + needle.answer for each in haystacks for needle in each.needles]
    tokenizer = Tokenizer(BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([DIGITS[digits], byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|im_end|>", pad_token="<s>"
    )
    wrapped.chat_template = template
    return wrapped


def make_model(vocabulary: int, seed: int = 0) -> LlamaForCausalLM:
    """Make a Llama of two layers with random weights, spread out so that greedy choices are clear."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(autouse=True, scope="session")
def no_kept_answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's own answers out of tests, and those of tests out of the user's."""
    folder = tmp_path_factory.mktemp("answers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("needlework.inference.cache.default_folder", lambda: folder / str(uuid.uuid4()))
        yield


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture
def renderer(tokenizer: PreTrainedTokenizerFast) -> Renderer:
    return Renderer(tokenizer)


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return make_model(len(tokenizer))


@pytest.fixture(scope="session")
def model_folder(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-model")
    make_model(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    monkeypatch.setattr(watch, "POLL", 0.01)
    monkeypatch.setattr(sending, "BACKOFF", 0.01)
    with serving() as service:
        yield service


@pytest.fixture
def tiny(model_folder: Path) -> Recipe:
    values: dict[str, Any] = {
        "model": {"name": str(model_folder)},
        "hosted": {"model": "base-model"},
        # Of few digits, because tables of the tokens of numbers take a second.
        "data": {
            "haystacks": 6,
            "needles": 2,
            "items": [3, 4],
            "params": {"key_digits": [2, 2], "value_digits": [2, 2]},
        },
        "train": {"epochs": 3},
        "evaluate": {"knowledge": {"facts": 8}},
    }
    return recipe.parse(values)
