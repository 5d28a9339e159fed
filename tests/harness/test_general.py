from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM

from needlework import pipeline
from needlework.benchmark_settings import Evaluate
from needlework.benchmark_settings import General as Settings
from needlework.errors import UserError
from needlework.harness import general
from needlework.harness.general import General
from needlework.haystack import Prediction
from needlework.inference.backend import FakeBackend
from needlework.inference.hf import HFBackend
from needlework.recipe import Model
from needlework.report.comparison import compare
from tests.harness.conftest import QUESTIONS, make, silent

FIVE = ("mmlu", "hellaswag", "gsm8k", "triviaqa", "nq_open")


def canned(prompt: str, options: dict[str, Any]) -> str:
    """Answer in four forms by turns: alone, in a sentence, wrong, and with another name first."""
    number = int(re.findall(r"(?:number|much is) (\d+)", prompt)[-1])
    if "How much" in prompt:
        right = number + 10
        texts = [f"So\n#### {right}", f"The sum is {right}.", f"#### {right + 1}\nQuestion: 1", "I do not know."]
    else:
        texts = [f" Alba {number}", f" Well, it was Alba {number}.", " Nobody\nAlba", f" Alba {number}. He was"]
    text = texts[number % 4]
    for stop in options["until"]:
        text = text.split(stop)[0]
    return text


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lm-eval's model say something sensible."""

    def generate_until(self: Any, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        return [canned(*each.args) for each in requests]

    monkeypatch.setattr(HFLM, "generate_until", generate_until)


def lm_eval_numbers(benchmark: General, backend: HFBackend) -> dict[str, float]:
    """Return what lm-eval itself makes of the same questions."""
    results = simple_evaluate(
        model=HFLM(pretrained=backend.model, tokenizer=backend.renderer.tokenizer, batch_size=4),
        tasks=[benchmark.name],
        num_fewshot=benchmark.fewshot,
        samples=benchmark.samples,
        task_manager=benchmark.manager,
        bootstrap_iters=0,
    )
    return dict(results["results"][benchmark.name])


def rate(predictions: list[Prediction], score: str = "") -> float:
    return sum(each.extra[score] if score else each.hit for each in predictions) / len(predictions)


def test_choices_score_as_lm_eval_scores_them(local_tasks: Path, backend: HFBackend, tmp_path: Path) -> None:
    mmlu, hellaswag = make(local_tasks, "mmlu", "hellaswag", limit=9)
    predictions = mmlu.ask(backend, tmp_path / "predictions-mmlu.jsonl", silent)
    assert len(predictions) == 9
    assert 0 < rate(predictions) == pytest.approx(lm_eval_numbers(mmlu, backend)["acc,none"])
    predictions = hellaswag.ask(backend, tmp_path / "predictions-hellaswag.jsonl", silent)
    numbers = lm_eval_numbers(hellaswag, backend)
    assert rate(predictions) == pytest.approx(numbers["acc,none"])
    assert rate(predictions, "acc_norm") == pytest.approx(numbers["acc_norm,none"])
    assert {"left", "right", "up", "down"} >= {each.output.split()[2] for each in predictions} - {"all"}


@pytest.mark.usefixtures("spoken")
def test_generated_answers_score_as_lm_eval_scores_them(local_tasks: Path, backend: HFBackend, tmp_path: Path) -> None:
    for benchmark in make(local_tasks, "triviaqa", "nq_open", limit=10):
        predictions = benchmark.ask(backend, tmp_path / f"{benchmark.name}.jsonl", silent)
        assert 0 < rate(predictions, "exact_match") < rate(predictions)
        assert rate(predictions, "exact_match") == pytest.approx(
            lm_eval_numbers(benchmark, backend)["exact_match,remove_whitespace"]
        )
    (gsm8k,) = make(local_tasks, "gsm8k", limit=10)
    predictions, numbers = gsm8k.ask(backend, tmp_path / "gsm8k.jsonl", silent), lm_eval_numbers(gsm8k, backend)
    assert 0 < rate(predictions, "strict-match") < rate(predictions)
    assert rate(predictions) == pytest.approx(numbers["exact_match,flexible-extract"])
    assert rate(predictions, "strict-match") == pytest.approx(numbers["exact_match,strict-match"])


@pytest.mark.usefixtures("spoken")
def test_an_answer_in_other_words_is_contained_though_not_exact(
    local_tasks: Path, backend: HFBackend, tmp_path: Path
) -> None:
    (benchmark,) = make(local_tasks, "triviaqa")
    found = {each.id: each for each in benchmark.ask(backend, tmp_path / "triviaqa.jsonl", silent)}
    scores = [(each.hit, each.extra["exact_match"]) for each in (found[f"triviaqa/{index}"] for index in range(4))]
    assert scores == [(True, True), (True, False), (False, False), (True, True)]
    assert found["triviaqa/1"].output == " Well, it was Alba 1."
    # An alias that normalises to nothing would be held by everything.
    assert found["triviaqa/1"].accepted == ("Alba 1",)


def test_questions_are_drawn_by_seed_from_all_tasks_of_a_group(local_tasks: Path) -> None:
    (first,), (again,), (other,) = (make(local_tasks, "mmlu", limit=8, seed=seed) for seed in (1, 1, 2))
    assert first.samples == again.samples != other.samples
    assert sum(map(len, first.samples.values())) == 8
    assert first.samples.keys() == {"mmlu_anatomy", "mmlu_virology"}
    assert any(max(indices) >= 8 for indices in first.samples.values())
    (everything,) = make(local_tasks, "mmlu")
    assert sum(map(len, everything.samples.values())) == 2 * QUESTIONS


def test_every_benchmark_says_what_its_scores_mean(local_tasks: Path) -> None:
    assert {each.name: each.titles for each in make(local_tasks, *FIVE)} == {
        "mmlu": {"acc": "MMLU"},
        "hellaswag": {"acc": "HellaSwag", "acc_norm": "HellaSwag, acc norm"},
        "gsm8k": {"flexible-extract": "GSM8K", "strict-match": "GSM8K, strict-match"},
        "triviaqa": {"contained": "TriviaQA", "exact_match": "TriviaQA, exact match"},
        "nq_open": {"contained": "NQ-Open", "exact_match": "NQ-Open, exact match"},
    }


def test_versions_of_the_tasks_are_known(local_tasks: Path) -> None:
    (benchmark,) = make(local_tasks, "mmlu")
    assert benchmark.versions == {"mmlu_anatomy": "1.0", "mmlu_virology": "1.0"}


def test_a_backend_without_weights_is_refused(local_tasks: Path, tmp_path: Path) -> None:
    (benchmark,) = make(local_tasks, "gsm8k")
    with pytest.raises(UserError, match="gsm8k runs on the weights of a model"):
        benchmark.ask(FakeBackend(lambda ask: "5"), tmp_path / "gsm8k.jsonl", silent)


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="include_path is nowhere, which is not a folder"):
        make(Path("nowhere"), "gsm8k")


def test_an_unknown_task_is_refused(local_tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (known,) = make(local_tasks, "gsm8k")
    # Reading lm-eval's own takes ten seconds.
    monkeypatch.setattr(general, "_manager", lambda tasks, include_path: known.manager)
    with pytest.raises(UserError, match="lm-eval has no task 'gsm9k'"):
        make(local_tasks, "gsm9k")


def test_without_lm_eval_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UserError, match=r"not installed: pip install -e '\.\[eval\]' in the clone"):
        general.version()


def test_its_predictions_are_compared_like_all_others(local_tasks: Path, model_folder: Path, tmp_path: Path) -> None:
    settings = Settings(tasks=("hellaswag",), limit=3, include_path=str(local_tasks))
    for side in ("before", "after"):
        model = Model(name=str(model_folder), precision="fp32")
        pipeline.evaluate(model, Evaluate(general=settings), 0, tmp_path / side)
    saved, summary = (json.loads((tmp_path / "after" / f"{name}.json").read_text()) for name in ("settings", "summary"))
    assert saved["benchmarks"]["general"]["lm_eval"] == importlib.metadata.version("lm_eval")
    assert summary["benchmarks"]["hellaswag"]["task versions"] == {"hellaswag": "1.0"}
    rows = compare(tmp_path / "before", tmp_path / "after")["benchmarks"]
    assert {name: (row["overall"]["n"], row["overall"]["change"]) for name, row in rows.items()} == {
        "hellaswag": (3, 0),
        "hellaswag.acc_norm": (3, 0),
    }
