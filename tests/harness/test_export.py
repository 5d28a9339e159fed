from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import datasets
import pytest
import yaml
from transformers import LlamaForCausalLM

from needlework.benchmark_settings import KV, MDQA, Evaluate, FLenQA, KnownUnknowns
from needlework.benchmarks import Benchmark
from needlework.errors import ModelError
from needlework.evaluation import build_benchmarks
from needlework.harness.export import write_tasks
from needlework.harness.tasks import process_results
from needlework.inference.evaluate import evaluate
from needlework.inference.hf import HFBackend
from needlework.models.chat import Renderer

SMALL = Evaluate(
    kv=KV(lengths=(400, 500), depths=(0, 1), haystacks=2),
    mdqa=MDQA(documents=2, positions=(1, 2), paragraphs=1, max_new_tokens=8),
)


def run_lm_eval(options: str) -> None:
    """Run lm-eval's own command line."""
    from lm_eval.__main__ import cli_evaluate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lm_eval", "run", *shlex.split(options)])
        cli_evaluate()


@pytest.fixture
def small(renderer: Renderer) -> list[Benchmark]:
    return build_benchmarks(SMALL, 0, renderer)


@pytest.mark.slow
def test_lm_evals_own_command_gives_our_answers_and_scores(
    small: list[Benchmark], renderer: Renderer, model: LlamaForCausalLM, model_folder: Path, tmp_path: Path
) -> None:
    groups = write_tasks(small, renderer, 4096, tmp_path / "tasks")
    run_lm_eval(
        f"--include_path {tmp_path / 'tasks'} --tasks {','.join(groups)} --apply_chat_template --log_samples "
        f"--model hf --model_args pretrained={model_folder},dtype=float32 --device cpu --output_path {tmp_path / 'out'}"
    )
    theirs = {}
    for path in (tmp_path / "out").rglob("samples_*.jsonl"):
        for sample in map(json.loads, path.read_text().splitlines()):
            theirs[sample["doc"]["id"]] = sample
    backend = HFBackend(model, renderer)
    ours = {}
    for each in small:
        path, limits = tmp_path / f"{each.name}.jsonl", {"max_new_tokens": each.max_new_tokens, "stop": each.stop}
        found = evaluate(backend, each.haystacks, each.score, path, **limits)
        ours |= {each.id: each for each in found.predictions}
    assert len(ours) == 8 + 4
    assert {id: each["resps"][0][0] for id, each in theirs.items()} == {id: each.output for id, each in ours.items()}
    scores = {id: each.get("value", each.get("contained")) for id, each in theirs.items()}
    assert scores == {id: each.hit for id, each in ours.items()}
    assert any(each.output for each in ours.values())


def test_there_is_a_task_for_each_length_and_position(
    small: list[Benchmark], renderer: Renderer, tmp_path: Path
) -> None:
    groups = write_tasks(small, renderer, None, tmp_path)
    assert groups == ["needlework_kv", "needlework_mdqa"]
    group = yaml.safe_load((tmp_path / "needlework_kv.yaml").read_text())
    assert group["task"] == [f"needlework_kv_{length}_at_{depth}" for length in (400, 500) for depth in (0, 100)]
    rows = [json.loads(line) for line in (tmp_path / "needlework_kv_400_at_100.jsonl").read_text().splitlines()]
    needles = [each.needles[1] for each in small[0].haystacks if each.meta["length"] == 400]
    assert [row["id"] for row in rows] == [needle.id for needle in needles]


def test_a_folders_name_is_no_pattern(small: list[Benchmark], renderer: Renderer, tmp_path: Path) -> None:
    write_tasks(small[:1], renderer, None, tmp_path / "[a] b*")
    task = yaml.load((tmp_path / "[a] b*/needlework_kv_400_at_0.yaml").read_text(), Loader=yaml.BaseLoader)
    rows = datasets.load_dataset("json", **task["dataset_kwargs"], cache_dir=str(tmp_path / "cache"))
    assert len(rows["test"]) > 0


def test_a_benchmark_without_positions_is_one_task(renderer: Renderer, tmp_path: Path) -> None:
    (knowledge,) = build_benchmarks(Evaluate.model_validate({"knowledge": {"facts": 3}}), 0, renderer)
    write_tasks([knowledge], renderer, None, tmp_path)
    group, task = (path for path in sorted(tmp_path.glob("*.yaml")))
    assert (group.stem, task.stem) == ("needlework_knowledge", "needlework_knowledge_all")


def test_prompts_beyond_the_context_are_refused_before_anything_is_written(
    small: list[Benchmark], renderer: Renderer, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"needle kv/500/0/0 needs \d+ tokens with its answer, but .* context is 450"):
        write_tasks(small, renderer, 450, tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_name_no_code_but_ours(renderer: Renderer, tmp_path: Path) -> None:
    write_tasks(build_benchmarks(Evaluate(known_unknowns=KnownUnknowns()), 0, renderer), renderer, None, tmp_path)
    named = {line for path in tmp_path.glob("*.yaml") for line in path.read_text().split("\n") if "!" in line}
    assert named == {"process_results: !function 'needlework.harness.tasks.process_results'"}


@pytest.mark.parametrize(("slip", "correct"), [(False, False), (True, True)])
def test_flenqa_is_scored_as_it_was_set(renderer: Renderer, tmp_path: Path, slip: bool, correct: bool) -> None:
    one = FLenQA(tasks=("PIR",), paddings=("same",), dispersions=("first",), lengths=(900,), samples=1)
    chosen = Evaluate(flenqa=one.model_copy(update={"official_normalization": slip}))
    write_tasks(build_benchmarks(chosen, 0, renderer), renderer, None, tmp_path)
    (row,) = map(json.loads, (tmp_path / "needlework_flenqa_900_at_first.jsonl").read_text().splitlines())
    assert row["answer"] == "True"
    assert process_results(row, ['It is not "true".']) == {"correct": correct, "answered": True}
