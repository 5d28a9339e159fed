"""The five general benchmarks on a few questions of local files, in the form of the official data sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import yaml
from transformers import LlamaForCausalLM

from needlework.benchmark_settings import General as Settings
from needlework.harness.general import General, build
from needlework.inference.hf import HFBackend
from needlework.models.chat import Renderer

TASKS = Path(lm_eval.__file__).parent / "tasks"
QUESTIONS = 12


def rows(kind: str, index: int) -> dict[str, Any]:
    """Return a question as the official data set has it."""
    if kind == "mmlu":
        return {"question": f"What is {index}?", "choices": ["odd", "even", "both", "none"], "answer": index % 4}
    if kind == "hellaswag":
        endings = [f"and goes {way} {index} times." for way in ("left", "right", "up", "all the way down")]
        context = {"ctx_a": f"A man takes step {index}.", "ctx_b": "he turns", "activity_label": "Walking [title]"}
        return {**context, "endings": endings, "label": str(index % 4)}
    if kind == "gsm8k":
        return {"question": f"How much is {index} and 10?", "answer": f"It is {index}+10.\n#### {index + 10}"}
    if kind == "triviaqa":
        return {"question": f"Who was number {index}", "answer": {"aliases": [f"Alba {index}", "The"]}}
    return {"question": f"who was number {index}", "answer": [f"Alba {index}", f"Alba the {index}th"]}


@pytest.fixture(scope="session")
def local_tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for `include_path`: lm-eval's own task files, but for where the data are."""
    import datasets

    folder = tmp_path_factory.mktemp("tasks")
    sources = {
        "mmlu_anatomy": ("mmlu", "mmlu/default/mmlu_anatomy.yaml", ("dev", "test")),
        "mmlu_virology": ("mmlu", "mmlu/default/mmlu_virology.yaml", ("dev", "test")),
        "hellaswag": ("hellaswag", "hellaswag/hellaswag.yaml", ("train", "validation")),
        "gsm8k": ("gsm8k", "gsm8k/gsm8k.yaml", ("train", "test")),
        "triviaqa": ("triviaqa", "triviaqa/default.yaml", ("train", "validation")),
        "nq_open": ("nq_open", "nq_open/nq_open.yaml", ("train", "validation")),
    }
    for name, (kind, source, splits) in sources.items():
        files = {split: str(folder / f"{name}-{split}.jsonl") for split in splits}
        for path in files.values():
            lines = [json.dumps(rows(kind, index)) for index in range(QUESTIONS)]
            Path(path).write_text("\n".join(lines) + "\n")
        local = {"include": str(TASKS / source), "dataset_path": "json", "dataset_name": None}
        task = {**local, "dataset_kwargs": {"data_files": files}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    group = {"group": "mmlu", "task": ["mmlu_anatomy", "mmlu_virology"]}
    metric = {"aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}]}
    (folder / "mmlu.yaml").write_text(yaml.safe_dump(group | metric))
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")
    yield folder
    datasets.config.HF_DATASETS_CACHE = before


@pytest.fixture
def backend(model: LlamaForCausalLM, renderer: Renderer) -> HFBackend:
    return HFBackend(model, renderer)


def make(local_tasks: Path, *tasks: str, limit: int | None = None, seed: int = 0) -> list[General]:
    settings = Settings(tasks=tasks, limit=limit, batch_size=4, include_path=str(local_tasks))
    return build(settings, seed=seed)


def silent(done: int, total: int) -> None:
    pass
