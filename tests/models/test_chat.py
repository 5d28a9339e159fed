from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tokenizers import processors
from transformers import GenerationConfig

from needlework.errors import ModelError
from needlework.haystack import Haystack, Needle
from needlework.models.chat import Renderer, common_length
from needlework.tasks import make_task
from needlework.tasks.protocol import make
from tests.conftest import CHAT_ML, INST, make_tokenizer


def haystack(num_needles: int = 3) -> Haystack:
    return make(make_task("simple_dict"), np.random.default_rng(1), 6, num_needles)


def test_prompt_and_completion_are_what_the_template_writes() -> None:
    renderer, sample = Renderer(make_tokenizer(template=CHAT_ML)), haystack()
    needle = sample.needles[0]
    assert renderer.prompt(sample, needle) == (
        f"<|im_start|>user\n{sample.message(needle)}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert renderer.completion(sample, needle) == f"{needle.answer}<|im_end|>"


@pytest.mark.parametrize("behind", [" ", "\\n", "\\n\\n"])
def test_what_a_template_puts_behind_the_end_of_turn_is_not_trained_on(behind: str) -> None:
    template = INST.replace("{{ eos_token }}", f"{{{{ eos_token + '{behind}' }}}}")
    renderer, sample = Renderer(make_tokenizer(template=template)), haystack()
    needle = sample.needles[0]
    assert renderer.completion(sample, needle) == f"{needle.answer}<|im_end|>"


@pytest.mark.parametrize("template", [CHAT_ML, INST, None])
def test_a_turn_ends_with_the_templates_marker(template: str | None) -> None:
    tokenizer = make_tokenizer(template=template)
    assert Renderer(tokenizer).end == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_the_marker_may_be_another_token_than_the_end_of_sequence() -> None:
    tokenizer = make_tokenizer(template=CHAT_ML)
    marker = tokenizer.eos_token_id
    tokenizer.eos_token = "<s>"
    assert marker != tokenizer.eos_token_id
    renderer = Renderer(tokenizer)
    assert renderer.end == marker
    assert renderer.ends(GenerationConfig(eos_token_id=[7, marker])) == [7, marker, tokenizer.eos_token_id]
    assert renderer.ends(GenerationConfig()) == [tokenizer.eos_token_id, marker]


def test_a_template_may_end_no_answer() -> None:
    tokenizer = make_tokenizer(template=INST.replace("{{ eos_token }}", ""))
    assert Renderer(tokenizer).end is None


@pytest.mark.parametrize("answer", ["Paris", "Paris\n", " Paris"])
def test_a_template_that_strips_answers_ends_all_turns_alike(answer: str) -> None:
    tokenizer = make_tokenizer(template=CHAT_ML.replace("message['content']", "message['content'] | trim"))
    tokenizer.eos_token = "<s>"
    sample = replace(haystack(1), needles=(replace(haystack(1).needles[0], answer=answer),))
    assert Renderer(tokenizer).completion(sample, sample.needles[0]) == "Paris<|im_end|>"


def test_a_template_that_drops_the_answer_leaves_it_to_us() -> None:
    tokenizer = make_tokenizer(template=INST.replace("{{ message['content'] }}{{ eos_token }}", ""))
    sample = haystack(1)
    assert Renderer(tokenizer).completion(sample, sample.needles[0]) == sample.needles[0].answer + "<|im_end|>"


def test_a_system_message_comes_first() -> None:
    renderer, sample = Renderer(make_tokenizer(), system="Be brief."), haystack()
    assert renderer.prompt(sample, sample.needles[0]).startswith("<|im_start|>system\nBe brief.<|im_end|>\n")


def test_without_a_template_the_message_is_the_prompt() -> None:
    renderer, sample = Renderer(make_tokenizer(template=None)), haystack()
    needle = sample.needles[0]
    assert renderer.prompt(sample, needle) == sample.message(needle) + "\n"
    assert renderer.completion(sample, needle) == needle.answer + "<|im_end|>"


@pytest.mark.parametrize("behind", ["", "\n", "  "])
def test_every_day_writes_the_same_prompt(behind: str) -> None:
    # As Llama 3.2's template asks for the day, and as others do.
    ask = """{%- if strftime_now is defined %}{% set day = strftime_now("%d %b %Y") %}{% endif %}"""
    written = "Today: {{ day }}, {{ strftime_now('%Y-%m-%d') }}, {{ strftime_now(day[:0] + '%Y') }}\n"
    renderer, sample = Renderer(make_tokenizer(template=behind + ask + written + CHAT_ML)), haystack()
    plain = Renderer(make_tokenizer(template=behind + "{%- if true %}{% endif %}" + CHAT_ML))
    needle = sample.needles[0]
    prompt = renderer.prompt(sample, needle)
    assert "Today: 26 Jul 2024, 2024-07-26, 2024-07-26\n" in prompt
    assert prompt.replace("Today: 26 Jul 2024, 2024-07-26, 2024-07-26\n", "") == plain.prompt(sample, needle)


def test_a_template_without_a_day_is_left_as_it_is() -> None:
    assert Renderer(make_tokenizer(template=CHAT_ML)).template == CHAT_ML


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


def test_a_tokenizer_that_only_ends_texts_begins_none() -> None:
    tokenizer = make_tokenizer(template=None)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|im_end|>", special_tokens=[("<|im_end|>", tokenizer.eos_token_id)]
    )
    assert Renderer(tokenizer).prompt(haystack(), haystack().needles[0]).startswith("Do a task")


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
    with pytest.raises(ModelError, match=r"refuses the roles system, user: System role not supported\. Many"):
        renderer.prompt(sample, sample.needles[0])


def test_common_length() -> None:
    assert common_length([[1, 2, 3], [1, 2, 4], [1, 2]]) == 2
    assert common_length([[5], [6]]) == 0
    assert common_length([[1, 2, 3]]) == 3


@pytest.mark.parametrize("template", [CHAT_ML, INST])
@pytest.mark.parametrize("digits", ["single", "threes", "merged"])
def test_turns_are_the_conversation_as_the_template_writes_it(digits: str, template: str) -> None:
    renderer, sample = Renderer(make_tokenizer(digits, template), conversation=True), haystack()
    questions = [sample.message(sample.needles[0]), *(needle.question for needle in sample.needles[1:])]
    messages = []
    for question, needle in zip(questions, sample.needles, strict=True):
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": needle.answer}]
    text, ids, answers = renderer.turns(sample)
    assert text == str(renderer.tokenizer.apply_chat_template(messages, tokenize=False)).rstrip("\n")
    assert renderer.tokenizer.decode(ids) == text
    for needle, (start, end) in zip(sample.needles, answers, strict=True):
        assert renderer.tokenizer.decode(ids[start:end]) == renderer.completion(sample, needle)


def test_a_conversation_counts_all_its_turns() -> None:
    tokenizer, sample = make_tokenizer(), haystack()
    whole = Renderer(tokenizer, conversation=True)
    assert whole.count(sample) == len(whole.turns(sample)[1]) > Renderer(tokenizer).count(sample)


def test_a_conversation_of_one_turn_is_the_row() -> None:
    renderer, sample = Renderer(make_tokenizer(), conversation=True), haystack(1)
    ((prompt, completion),) = renderer.rows(sample)
    _, ids, answers = renderer.turns(sample)
    assert (ids, answers) == (prompt + completion, [(len(prompt), len(prompt + completion))])


def test_earlier_turns_that_lose_their_thoughts_keep_their_answers() -> None:
    # Qwen3 writes a thought before the last answer only.
    thought = "{% if loop.last and message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    qwen = CHAT_ML.replace("{{ message['content'] }}", thought + "{{ message['content'] }}").replace(
        "assistant\n{% endif %}", "assistant\n<think>\n\n</think>\n\n{% endif %}"
    )
    renderer, sample = Renderer(make_tokenizer(template=qwen), conversation=True), haystack()
    text, ids, answers = renderer.turns(sample)
    found = [renderer.tokenizer.decode(ids[start:end]) for start, end in answers]
    assert text.count("<think>") == 1
    assert found == [needle.answer + "<|im_end|>" for needle in sample.needles]


def test_an_answer_that_merges_with_its_prompt_is_tokenized_by_itself() -> None:
    # " dictionaries" is one token of this tokenizer, but here its ending is the answer.
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer = make_tokenizer(template=template)
    needles = (
        Needle("0", "0", "All the dictionar", "ies", ("ies",), 0),
        Needle("1", "1", " and the dictionar", "ies", ("ies",), 0),
    )
    sample = Haystack("0", "t", "p", ("one",), needles)
    renderer = Renderer(tokenizer, conversation=True)
    text, ids, answers = renderer.turns(sample)
    assert tokenizer.decode(ids) == text
    assert len(ids) > len(renderer.encode([text])[0])
    assert [tokenizer.decode(ids[start:end]) for start, end in answers] == [
        renderer.completion(sample, needle) for needle in needles
    ]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        ("{% set m = messages[-2:] %}" + CHAT_ML.replace("in messages", "in m"), "drops or changes turn 1 of 3"),
        (CHAT_ML.replace("{{ message['content'] }}", "{{ message['content'][:900] }}"), "drops or changes turn 1 of 3"),
        (
            "{% if messages | length > 2 %}{{ raise_exception('One turn only') }}{% endif %}" + CHAT_ML,
            "refuses the roles user, assistant, user, .*: One turn only",
        ),
    ],
)
def test_a_template_that_cannot_do_turns_is_refused(template: str | None, message: str) -> None:
    renderer = Renderer(make_tokenizer(template=template), conversation=True)
    with pytest.raises(ModelError, match=message):
        renderer.turns(make(make_task("simple_dict"), np.random.default_rng(1), 20, 3))
