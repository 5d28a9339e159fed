from __future__ import annotations

import numpy as np
import pytest
from tokenizers import processors

from needlework.errors import ModelError
from needlework.haystack import Haystack
from needlework.models.chat import Renderer, common_length
from needlework.tasks import make_task
from needlework.tasks.protocol import make
from tests.conftest import CHAT_ML, INST, make_tokenizer


def haystack(num_needles: int = 3) -> Haystack:
    return make(make_task("simple_dict", {}), np.random.default_rng(1), 6, num_needles)


def test_prompt_and_completion_are_what_the_template_writes() -> None:
    renderer, sample = Renderer(make_tokenizer(template=CHAT_ML)), haystack()
    needle = sample.needles[0]
    assert renderer.prompt(sample, needle) == (
        f"<|im_start|>user\n{sample.message(needle)}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert renderer.completion(sample, needle) == f"{needle.answer}<|im_end|>"


def test_a_system_message_comes_first() -> None:
    renderer, sample = Renderer(make_tokenizer(), system="Be brief."), haystack()
    assert renderer.prompt(sample, sample.needles[0]).startswith("<|im_start|>system\nBe brief.<|im_end|>\n")


def test_without_a_template_the_message_is_the_prompt() -> None:
    renderer, sample = Renderer(make_tokenizer(template=None)), haystack()
    needle = sample.needles[0]
    assert renderer.prompt(sample, needle) == sample.message(needle) + "\n"
    assert renderer.completion(sample, needle) == needle.answer + "<|im_end|>"


def test_thinking_is_switched_off_in_prompt_and_completion() -> None:
    # The shape of Qwen3's template: an empty thinking block before answers, and in prompts if thinking is off.
    block = "<think>\\n\\n</think>\\n\\n"
    in_answers = "{% if message['role'] == 'assistant' %}{{ '" + block + "' }}{% endif %}{{ message['content'] }}"
    in_prompts = "assistant\n{% if enable_thinking is false %}{{ '" + block + "' }}{% endif %}{% endif"
    template = CHAT_ML.replace("{{ message['content'] }}", in_answers).replace("assistant\n{% endif", in_prompts)
    renderer, sample = Renderer(make_tokenizer(template=template)), haystack()
    needle = sample.needles[0]
    assert renderer.prompt(sample, needle).endswith("assistant\n<think>\n\n</think>\n\n")
    assert renderer.completion(sample, needle) == needle.answer + "<|im_end|>"


def test_a_model_without_template_gets_its_beginning_of_sequence() -> None:
    tokenizer = make_tokenizer(template=None)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    sample = haystack()
    renderer = Renderer(tokenizer)
    assert renderer.prompt(sample, sample.needles[0]).startswith("<s>Do a task")
    assert renderer.prompt_ids(sample, sample.needles[0])[:2].count(0) == 1


@pytest.mark.parametrize("template", [CHAT_ML, INST, None])
@pytest.mark.parametrize("digits", ["single", "threes", "merged"])
def test_packed_rows_are_the_tokenized_texts(digits: str, template: str | None) -> None:
    renderer, sample = Renderer(make_tokenizer(digits, template)), haystack()
    packed = renderer.pack(sample)
    for needle, branch, answer in zip(sample.needles, packed.branches, packed.answers, strict=True):
        ids = [*packed.prefix, *branch]
        text = renderer.prompt(sample, needle) + renderer.completion(sample, needle)
        assert renderer.tokenizer.decode(ids) == text
        assert ids[:-answer] == renderer.prompt_ids(sample, needle)
        assert renderer.tokenizer.decode(ids[-answer:]) == renderer.completion(sample, needle)


def test_the_prefix_reaches_into_the_questions_as_far_as_they_agree() -> None:
    renderer, sample = Renderer(make_tokenizer()), haystack()
    prefix = renderer.tokenizer.decode(renderer.pack(sample).prefix)
    assert prefix.startswith("<|im_start|>user\nDo a task")
    assert prefix.rstrip("0123456789").endswith("Report the value of key ")


def test_one_needle_leaves_the_last_prompt_token_to_its_branch() -> None:
    renderer, sample = Renderer(make_tokenizer()), haystack(1)
    packed = renderer.pack(sample)
    assert len(packed.branches[0]) == packed.answers[0] + 1


def test_count_is_the_longest_row() -> None:
    renderer, sample = Renderer(make_tokenizer()), haystack()
    packed = renderer.pack(sample)
    assert renderer.count(sample) == len(packed.prefix) + max(map(len, packed.branches))


def test_a_template_that_refuses_the_messages_is_a_user_error() -> None:
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    renderer = Renderer(make_tokenizer(template=refuses), system="Hello.")
    sample = haystack()
    with pytest.raises(ModelError, match="refuses the roles system, user: System role not supported"):
        renderer.prompt(sample, sample.needles[0])


def test_common_length() -> None:
    assert common_length([[1, 2, 3], [1, 2, 4], [1, 2]]) == 2
    assert common_length([[5], [6]]) == 0
    assert common_length([[1, 2, 3]]) == 3
