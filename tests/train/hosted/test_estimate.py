from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import tiktoken

from needlework.models.chat import Renderer
from needlework.train.hosted.estimate import Estimate, counter, estimate
from tests.real_tokenizers import openai_encoding

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Report the value of key 9205."},
    {"role": "assistant", "content": "9318"},
]


def test_tokens_are_those_of_texts_and_markers(tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text(json.dumps({"messages": CHAT}) + "\n" + json.dumps({"messages": CHAT[1:]}) + "\n")
    found = estimate(data, lambda text: [0] * len(text.split()), "words", epochs=3, price=8.0)
    # Texts of 2 + 6 + 1 words, as many roles as messages, 3 markers a message and 3 an example.
    assert (found.longest, found.tokens) == (9 + 3 + 9 + 3, 24 + 7 + 2 + 6 + 3)
    assert found.examples == 2


def test_the_cost_is_tokens_times_epochs_times_price() -> None:
    found = Estimate(150, 500_000, 4_000, "words", epochs=3, price=8.0)
    assert found.cost == pytest.approx(12.0)
    assert str(found) == (
        "About $12.00: 500,000 tokens in 150 examples (counted with words) x 3 epochs x $8.00 per million."
    )


def test_openai_models_are_counted_with_their_own_vocabulary(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = openai_encoding("cl100k_base")
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: {"cl100k_base": encoding}[name])
    monkeypatch.setattr("tiktoken.model.get_encoding", tiktoken.get_encoding)
    encode, name = counter("gpt-3.5-turbo-1106", renderer, "tiny")
    assert name == "tiktoken's cl100k_base"
    assert encode("4548: 1475 <|endoftext|>") == encoding.encode("4548: 1475 <|endoftext|>", disallowed_special=())


@pytest.mark.parametrize("case", ["not installed", "another model", "no vocabulary", "another file"])
def test_without_it_the_recipes_tokenizer_counts_and_is_named(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    if case == "not installed":
        monkeypatch.setitem(sys.modules, "tiktoken", None)
    error = OSError("no network") if case == "no vocabulary" else ValueError("Hash mismatch")

    def refuse(*arguments: object) -> object:
        raise error

    monkeypatch.setattr("tiktoken.model.get_encoding", refuse) if case.startswith(("no v", "another f")) else None
    encode, name = counter("llama" if case == "another model" else "gpt-4.1-mini", renderer, "tiny")
    assert name == "the tokenizer of tiny"
    assert encode("4548: 1475") == renderer.encode(["4548: 1475"])[0]
