"""Our benchmarks as tasks of lm-evaluation-harness, for its `--include_path`.

Each benchmark becomes a task for each length and gold position, and a group of them all:

    OUT/needlework_kv.yaml                   the group
    OUT/needlework_kv_512_at_50.yaml         a task: prompts of 512 tokens, gold in the middle
    OUT/needlework_kv_512_at_50.jsonl        its prompts, each with its needle

Prompts are what follows a user's name in the chat, so lm-eval has to apply the chat template; decoding and scoring
are ours.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from needlework.benchmarks import Benchmark
from needlework.errors import ModelError
from needlework.harness import tasks
from needlework.haystack import LOWER_IS_BETTER, Haystack, Needle, to_json
from needlework.models.chat import Renderer
from needlework.storage import write_text

Row = dict[str, str]


class _Function(str):
    """The name of a function, which lm-eval's loader imports."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", str(name)))


def write_tasks(benchmarks: Iterable[Benchmark], renderer: Renderer, context: int | None, folder: Path) -> list[str]:
    """Write the tasks of benchmarks into a folder.

    Args:
        benchmarks: What to write.
        renderer: The renderer of the model that will be asked, by whose tokenizer lengths were counted.
        context: Its longest prompt with answer, in tokens, if there is a bound.
        folder: Receives the files.

    Returns:
        The names of the groups.

    Raises:
        ModelError: If a prompt exceeds the context: lm-eval would cut off its beginning.
    """
    files: dict[str, str] = {}
    groups = []
    for benchmark in benchmarks:
        rows = _rows(benchmark, renderer, context)
        group = f"needlework_{benchmark.name}"
        for name, some in rows.items():
            path = (folder / f"{name}.jsonl").resolve()
            files[path.name] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some)
            files[f"{name}.yaml"] = _dump(_task(name, benchmark, path))
        metrics = [{"metric": name, "weight_by_size": True} for name in benchmark.titles]
        files[f"{group}.yaml"] = _dump({"group": group, "task": list(rows), "aggregate_metric_list": metrics})
        groups.append(group)
    for name, text in files.items():
        write_text(folder / name, text)
    return groups


def _rows(benchmark: Benchmark, renderer: Renderer, context: int | None) -> dict[str, list[Row]]:
    """Return the rows of each task by its name."""
    score = tasks.name_of(benchmark.score)
    asks = [(haystack, needle) for haystack in benchmark.haystacks for needle in haystack.needles]
    rows: dict[str, list[Row]] = {}
    for haystack, needle in asks:
        needed = len(renderer.prompt_ids(haystack, needle)) + benchmark.max_new_tokens
        if context is not None and needed > context:
            raise ModelError(
                f"needle {needle.id} needs {needed} tokens with its answer, but the model's context is {context}. "
                f"Use shorter haystacks or another model."
            )
        row = {
            "id": needle.id,
            "prompt": _prompt(renderer, haystack, needle),
            "answer": needle.answer,
            "needle": to_json(needle),
            "score": score,
        }
        rows.setdefault(_name(benchmark, haystack, needle), []).append(row)
    return rows


def _prompt(renderer: Renderer, haystack: Haystack, needle: Needle) -> str:
    """Return what lm-eval is to ask: the user message, or, without a chat template, the whole prompt."""
    # lm-eval adds the beginning-of-sequence token itself.
    return haystack.message(needle) + ("\n" if renderer.tokenizer.chat_template is None else "")


def _name(benchmark: Benchmark, haystack: Haystack, needle: Needle) -> str:
    parts = ["needlework", benchmark.name]
    if length := haystack.meta.get("length"):
        parts.append(str(length))
    if place := (benchmark.places or {}).get(needle.id):
        parts += ["at", re.sub(r"\W+", "_", place.rstrip("%"))]
    # A group and its task cannot have one name.
    return "_".join(parts if len(parts) > 2 else [*parts, "all"])


def _task(name: str, benchmark: Benchmark, path: Path) -> dict[str, Any]:
    return {
        "task": name,
        "dataset_path": "json",
        # Brackets in a name would be read as a pattern.
        "dataset_kwargs": {"data_files": {"test": glob.escape(str(path))}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "answer",
        "process_results": _Function(f"{tasks.__name__}.{tasks.process_results.__name__}"),
        "generation_kwargs": {
            # Without any, lm-eval would end at an empty line.
            "until": [benchmark.stop] if benchmark.stop else [],
            "do_sample": False,
            "max_gen_toks": benchmark.max_new_tokens,
        },
        "metric_list": [
            {"metric": each, "aggregation": "mean", "higher_is_better": each not in LOWER_IS_BETTER}
            for each in benchmark.titles
        ],
        "num_fewshot": 0,
        "metadata": {"version": 1},
    }


def _dump(value: dict[str, Any]) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
