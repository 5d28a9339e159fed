"""Tokenizers of models in use, from packages that carry them: no hub.

Each is a fast tokenizer as transformers loads it, converted here where the package has another form. Beside it
stands the library that it comes from, as the judge of every id: sentencepiece and mistral-common for Mistral's,
tiktoken for the others. A chat template is written out as far as it renders a question and its answer: tools,
system messages and later turns are left out.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from unittest import mock

import tiktoken
from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
from mistral_common.tokens.instruct.request import InstructRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from sentencepiece import SentencePieceProcessor
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from needlework.models import embedded

Token = TypeVar("Token", str, bytes)

ROLES = (
    "{{% for m in messages %}}{{% if m['role'] == 'user' %}}{user}{{% else %}}{assistant}{{% endif %}}{{% endfor %}}"
)
# Mistral-7B-Instruct-v0.1 and v0.2, Mistral-7B-Instruct-v0.3, Mistral-Nemo-Instruct-2407.
MISTRAL_V1 = "{{ bos_token }}" + ROLES.format(
    user="{{ ' [INST] ' + m['content'] + ' [/INST]' }}", assistant="{{ ' ' + m['content'] + eos_token }}"
)
MISTRAL_V3 = "{{ bos_token }}" + ROLES.format(
    user="{{ '[INST] ' + m['content'] + '[/INST]' }}", assistant="{{ ' ' + m['content'] + eos_token }}"
)
TEKKEN = "{{ bos_token }}" + ROLES.format(
    user="{{ '[INST]' + m['content'] + '[/INST]' }}", assistant="{{ m['content'] + eos_token }}"
)
# OpenAI publishes no template. Phi-4 has the vocabulary of GPT-4 (cl100k), Phi-4-mini that of GPT-4o (o200k).
PHI_4 = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '<|im_sep|>' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
PHI_4_SPECIALS = {"<|endoftext|>": 100257, "<|im_start|>": 100264, "<|im_end|>": 100265, "<|im_sep|>": 100266}
PHI_4_MINI = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)
PHI_4_MINI_SPECIALS = {"<|endoftext|>": 199999, "<|assistant|>": 200019, "<|end|>": 200020, "<|user|>": 200021}

# tiktoken now publishes cl100k's pattern with possessive quantifiers, and Oniguruma, the engine of `tokenizers`,
# reads `{1,3}+` as any number of digits. This is the same pattern as published before.
CL100K_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Of GPT-2, with each digit alone. Digits are cut out first, so that spaces before one stay together.
SMOLLM2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class RealTokenizer:
    """A tokenizer in use, and what the library that it comes from makes of texts."""

    fast: PreTrainedTokenizerFast
    encode: Callable[[str], list[int]]
    """The library's ids of a text without special tokens."""
    chat: Callable[[str, str], list[int]]
    """The library's ids of a question and its answer."""


@cache
def real_tokenizer(name: str) -> RealTokenizer:
    """Return one of `NAMES`, made once; tests must not change it."""
    return MAKERS[name]()


def smollm2() -> RealTokenizer:
    fast = embedded.read_tokenizer()
    byte = {character: value for value, character in bytes_to_unicode().items()}
    specials = {each.content: id for id, each in fast.added_tokens_decoder.items()}
    ranks = {bytes(map(byte.__getitem__, token)): id for token, id in fast.get_vocab().items() if token not in specials}
    # The ids follow the order of the merges, as tiktoken wants them.
    library = tiktoken.Encoding("smollm2", pat_str=SMOLLM2_PATTERN, mergeable_ranks=ranks, special_tokens=specials)
    system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    user, assistant = "<|im_start|>user\n{}<|im_end|>\n", "<|im_start|>assistant\n{}<|im_end|>"
    return RealTokenizer(fast, library.encode, chat_of(library, system + user + assistant))


def mistral_v1() -> RealTokenizer:
    return from_sentencepiece(MistralTokenizer.v1(), MISTRAL_V1)


def mistral_v3() -> RealTokenizer:
    return from_sentencepiece(MistralTokenizer.v3(), MISTRAL_V3)


def tekken() -> RealTokenizer:
    library = MistralTokenizer.v3(is_tekken=True)
    tokenizer = library.instruct_tokenizer.tokenizer
    shift = tokenizer.num_special_tokens
    ranks = {token: rank + shift for token, rank in tokenizer._model._mergeable_ranks.items()}
    specials = {getattr(token, "value", token): id for id, token in enumerate(tokenizer._all_special_tokens)}
    fast = from_ranks(ranks, tokenizer._model._pat_str, specials)
    return of_mistral(library, fast, TEKKEN)


def cl100k() -> RealTokenizer:
    published = openai_encoding("cl100k_base")
    fast = from_ranks(published._mergeable_ranks, CL100K_PATTERN, PHI_4_SPECIALS)
    user, assistant = "<|im_start|>user<|im_sep|>{}<|im_end|>", "<|im_start|>assistant<|im_sep|>{}<|im_end|>"
    chat = chat_of(with_specials(published, PHI_4_SPECIALS), user + assistant)
    return RealTokenizer(wrap(fast, PHI_4, eos_token="<|im_end|>"), published.encode, chat)


def o200k() -> RealTokenizer:
    published = openai_encoding("o200k_base")
    fast = from_ranks(published._mergeable_ranks, published._pat_str, PHI_4_MINI_SPECIALS)
    turns = "<|user|>{}<|end|><|assistant|>{}<|end|><|endoftext|>"
    chat = chat_of(with_specials(published, PHI_4_MINI_SPECIALS), turns)
    return RealTokenizer(wrap(fast, PHI_4_MINI, eos_token="<|endoftext|>"), published.encode, chat)


MAKERS = {
    "smollm2": smollm2,
    "mistral-v1": mistral_v1,
    "mistral-v3": mistral_v3,
    "tekken": tekken,
    "cl100k": cl100k,
    "o200k": o200k,
}
NAMES = tuple(MAKERS)


def from_ranks(ranks: Mapping[bytes, int], pattern: str, specials: Mapping[str, int]) -> Tokenizer:
    """Return tiktoken's byte-level BPE as `tokenizers` does it: the tokens are the merges, in the order of ids."""
    letter = bytes_to_unicode()
    spelled = {token: "".join(map(letter.__getitem__, token)) for token in ranks}
    merges = [(spelled[left], spelled[right]) for left, right in splits(sorted(ranks, key=ranks.__getitem__), ranks)]
    vocabulary = {spelled[token]: id for token, id in ranks.items()} | dict(specials)
    tokenizer = Tokenizer(BPE(vocabulary, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(specials))
    return tokenizer


def from_sentencepiece(library: MistralTokenizer, template: str) -> RealTokenizer:
    """Return sentencepiece's BPE with byte fallback as `tokenizers` does it: no words, a space is a letter."""
    model: SentencePieceProcessor = library.instruct_tokenizer.tokenizer._model
    pieces = [model.id_to_piece(id) for id in range(len(model))]
    vocabulary = {piece: id for id, piece in enumerate(pieces)}
    plain = [id for id in range(len(model)) if not (model.is_control(id) or model.is_unknown(id) or model.is_byte(id))]
    by_score = [pieces[id] for id in sorted(plain, key=model.get_score, reverse=True)]
    merges = list(splits(by_score, {pieces[id] for id in plain}))
    tokenizer = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    # As Mistral's own conversions: a space before the text, but none behind a special token.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", left=1)]
    )
    specials = [pieces[id] for id in range(len(model)) if model.is_control(id) or model.is_unknown(id)]
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False) for piece in specials])
    return of_mistral(library, tokenizer, template)


def splits(tokens: Iterable[Token], known: Iterable[Token]) -> Iterable[tuple[Token, Token]]:
    """Yield, for each token in turn, its cuts into two known tokens: the merges that make it."""
    known = set(known)
    for token in tokens:
        for cut in range(1, len(token)):
            if token[:cut] in known and token[cut:] in known:
                yield token[:cut], token[cut:]


def of_mistral(library: MistralTokenizer, tokenizer: Tokenizer, template: str) -> RealTokenizer:
    instruct = library.instruct_tokenizer

    def encode(text: str) -> list[int]:
        return instruct.tokenizer.encode(text, bos=False, eos=False)

    def chat(question: str, answer: str) -> list[int]:
        messages = [UserMessage(content=question), AssistantMessage(content=answer)]
        return instruct.encode_instruct(InstructRequest(messages=messages)).tokens

    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return RealTokenizer(wrap(tokenizer, template, bos_token="<s>", eos_token="</s>"), encode, chat)


def wrap(tokenizer: Tokenizer, template: str, **specials: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **specials)


def openai_encoding(name: str) -> tiktoken.Encoding:
    """Return a published encoding from the files in litellm, which are named as tiktoken names its cache."""
    # Only the files are read: litellm is not imported, nor can it be without its dependencies.
    spec = importlib.util.find_spec("litellm")
    assert spec is not None, "litellm is not installed: see the Makefile"
    folder = os.path.join(os.path.dirname(str(spec.origin)), "litellm_core_utils", "tokenizers")
    with mock.patch.dict(os.environ, TIKTOKEN_CACHE_DIR=folder):
        return tiktoken.get_encoding(name)


def with_specials(encoding: tiktoken.Encoding, specials: Mapping[str, int]) -> tiktoken.Encoding:
    options: dict[str, Any] = {"pat_str": encoding._pat_str, "mergeable_ranks": encoding._mergeable_ranks}
    return tiktoken.Encoding("chat", special_tokens=dict(specials), **options)


def chat_of(library: tiktoken.Encoding, turns: str) -> Callable[[str, str], list[int]]:
    return lambda question, answer: library.encode(turns.format(question, answer), allowed_special="all")
