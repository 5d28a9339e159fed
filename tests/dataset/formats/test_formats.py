"""Each format is read by its real consumer; Axolotl's and LLaMA-Factory's own loaders by hand (docs/formats.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from needlework.dataset import export as exports
from needlework.dataset.export import export
from needlework.dataset.formats import FORMATS, make_format
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import UserError
from needlework.models.chat import Renderer
from needlework.recipe import Train
from needlework.tasks import make_task
from tests.conftest import CHAT_ML, INST, make_model, make_tokenizer

# As Qwen3 writes it: the assistant's last turn begins with a thought, which a prompt may have ended already.
THOUGHT = "<think>\n\n</think>\n\n"
THINKING = CHAT_ML.replace(
    "{{ message['content'] }}",
    f"{{% if message['role'] == 'assistant' %}}{THOUGHT}{{% endif %}}{{{{ message['content'] }}}}",
).replace("assistant\n{%", f"assistant\n{{% if enable_thinking is false %}}{THOUGHT}{{% endif %}}{{%")
# TRL finds the answers of a conversation by these marks.
GENERATION = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}{{ '\\n' }}{% else %}"
    "{{ message['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def written(renderer: Renderer, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> SyntheticDataset:
    monkeypatch.setattr(exports, "shard_size", lambda data: 2)
    data = SyntheticDataset(make_task("simple_dict"), 3, 2, 600, renderer)
    export(data, FORMATS[name], folder, {"seed": 0, "model": {"name": "m"}, "train": Train().model_dump(mode="json")})
    return data


def train(tokenizer: PreTrainedTokenizerFast, folder: Path, **options: Any) -> list[tuple[list[int], list[int]]]:
    """Let TRL take a step; return the ids and labels that the model was given."""
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    seen = []

    class Trainer(SFTTrainer):
        def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **more: Any) -> Any:
            for ids, labels, mask in zip(
                inputs["input_ids"].tolist(),
                inputs["labels"].tolist(),
                inputs["attention_mask"].bool().tolist(),
                strict=True,
            ):
                kept = [index for index, used in enumerate(mask) if used]
                seen.append(([ids[index] for index in kept], [labels[index] for index in kept]))
            return super().compute_loss(model, inputs, *arguments, **more)

    settings = SFTConfig(
        output_dir=str(folder / "out"),
        max_length=None,
        max_steps=1,
        per_device_train_batch_size=6,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **options,
    )
    rows = load_dataset(str(folder), split="train", cache_dir=str(folder / "cache"))
    trainer = Trainer(make_model(len(tokenizer)), args=settings, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(("template", "behind"), [(CHAT_ML, "\n"), (INST, ""), (THINKING, "\n")])
def test_trl_takes_a_step_on_exactly_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, behind: str
) -> None:
    tokenizer = make_tokenizer(template=template)
    data = written(Renderer(tokenizer), "trl", tmp_path, monkeypatch)
    # TRL trains on what a template puts behind the end of turn, too.
    newline = tokenizer(behind)["input_ids"] if behind else []
    expected = [
        ([*row.input_ids.tolist(), *newline], [*row.labels.tolist(), *newline])
        for index in range(3)
        for row in data.encoded(index)
    ]
    assert sorted(train(tokenizer, tmp_path)) == sorted(expected)


@pytest.mark.slow
def test_trl_takes_a_step_on_the_answers_of_conversations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer(template=GENERATION)
    data = written(Renderer(tokenizer, conversation=True), "trl", tmp_path, monkeypatch)
    newline = tokenizer("\n")["input_ids"]
    expected = [
        ([*row.input_ids.tolist(), *newline], [*row.labels.tolist(), -100])
        for index in range(3)
        for row in data.encoded(index)
    ]
    assert sorted(train(tokenizer, tmp_path, assistant_only_loss=True)) == sorted(expected)


@pytest.mark.slow
@pytest.mark.parametrize("conversation", [False, True])
def test_trl_takes_tokens_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conversation: bool) -> None:
    tokenizer = make_tokenizer()
    data = written(Renderer(tokenizer, conversation=conversation), "tokens", tmp_path, monkeypatch)
    expected = [(row.input_ids.tolist(), row.labels.tolist()) for index in range(3) for row in data.encoded(index)]
    assert sorted(train(tokenizer, tmp_path)) == sorted(expected)


@pytest.mark.parametrize("name", ["trl", "messages", "axolotl", "llamafactory"])
def test_datasets_streams_the_rows_in_order(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from datasets import load_dataset

    data = written(renderer, name, tmp_path, monkeypatch)
    rows = load_dataset(str(tmp_path), split="train", streaming=True)
    answers = [(row.get("messages") or row["completion"])[-1]["content"] for row in rows]
    assert answers == [needle.answer for index in range(3) for needle in data[index].needles]


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no format 'csv'\. Known: trl, messages, openai, tokens"):
        make_format("csv")
