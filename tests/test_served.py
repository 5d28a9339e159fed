from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from needlework import pipeline, preparation, recipe, served
from needlework.errors import RecipeError
from needlework.evaluation import build_benchmarks
from needlework.haystack import Prediction, read
from needlework.inference.backend import Ask, TooLongError
from needlework.inference.openai import fewest_tokens
from needlework.progress import Silent
from needlework.recipe import Recipe
from needlework.remote import RemoteError
from needlework.served import Server
from tests.hosting import KEY, Fault, Service, error, serving


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as service:
        service.reply = lambda body: "two words"
        yield service


@pytest.fixture
def tiny(model_folder: Path) -> Recipe:
    values: dict[str, Any] = {"model": {"name": str(model_folder)}, "evaluate": {"knowledge": {"facts": 8}}}
    return recipe.parse(values)


def test_a_served_model_is_measured(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    served.evaluate("their-model", Server(service.url), tiny, tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["model"], summary["tokenizer"]) == ("their-model", tiny.model.name)
    entry = summary["benchmarks"]["knowledge"]
    assert (entry["n"], entry["output_tokens"], entry["answered_by"]["backend"]) == (8, 16, "openai")
    assert {body["model"] for _, body in service.bodies} == {"their-model"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize(("empty", "warned"), [(8, True), (5, True), (4, False)])
def test_answers_that_are_mostly_empty_are_pointed_out(
    service: Service, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: int, warned: bool
) -> None:
    replies = iter([""] * empty + ["two words"] * (8 - empty))
    service.reply = lambda body: next(replies)
    said: list[str] = []
    monkeypatch.setattr(Silent, "say", lambda self, text: said.append(text))
    served.evaluate("m", Server(service.url, concurrency=1), tiny, tmp_path)
    assert any(f"{empty} of 8 answers are empty. A model that reasons" in text for text in said) == warned


def test_without_being_told_no_answer_of_another_folder_is_taken(
    service: Service, tiny: Recipe, tmp_path: Path
) -> None:
    for folder in ("1", "2"):
        served.evaluate("m", Server(service.url), tiny, tmp_path / folder)
    assert len(service.calls) == 16


def test_on_request_they_are(service: Service, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("needlework.inference.cache.default_folder", lambda: tmp_path / "answers")
    for folder in ("1", "2"):
        served.evaluate("m", Server(service.url, cache=True), tiny, tmp_path / folder)
    assert len(service.calls) == 8
    served.evaluate("another", Server(service.url, cache=True), tiny, tmp_path / "3")
    assert len(service.calls) == 16


def test_a_server_that_fails_for_good_loses_no_answer(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    service.faults["chat"].extend([Fault(200, ANSWER)] * 5 + [error(400, "no more")])
    with pytest.raises(RemoteError, match="no more"):
        served.evaluate("m", Server(service.url, concurrency=1), tiny, tmp_path)
    service.calls.clear()
    served.evaluate("m", Server(service.url, concurrency=1), tiny, tmp_path)
    assert len(service.calls) == 3


@pytest.mark.parametrize("own", [False, True])
def test_a_server_that_cuts_numbers_off_is_found_out(service: Service, tiny: Recipe, tmp_path: Path, own: bool) -> None:
    kv = {"lengths": [640], "depths": [0.5], "haystacks": 1}
    numbers = recipe.parse({"model": {"name": tiny.model.name}, "evaluate": {"kv": kv}})
    renderer, model = preparation.make_renderer(numbers.model), tiny.model.name if own else "their-model"
    (built,) = build_benchmarks(numbers.evaluate, numbers.seed, renderer)
    ask = Ask(built.haystacks[0], built.haystacks[0].needles[0])
    (ids,) = renderer.encode([ask.haystack.message(ask.needle)])
    least = int(0.9 * len(ids)) if own else fewest_tokens(ask)
    assert least > 0.3 * len(ids)
    service.faults["chat"].extend(Fault(200, ANSWER.replace("99", str(least - few))) for few in (0, 1))
    served.evaluate(model, Server(service.url), numbers, tmp_path / "whole")
    with pytest.raises(TooLongError, match="it cuts prompts off"):
        served.evaluate(model, Server(service.url), numbers, tmp_path / "cut")


def test_its_folder_is_not_taken_for_that_of_a_model_that_is_loaded_here(
    service: Service, tiny: Recipe, tmp_path: Path
) -> None:
    served.evaluate("m", Server(service.url), tiny, tmp_path)
    with pytest.raises(RecipeError, match="holds an evaluation of m, not of "):
        pipeline.evaluate(tiny.model, tiny.evaluate, tiny.seed, tmp_path)


ANSWER = '{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 99}}'


@pytest.mark.slow
def test_killed_at_any_request_only_those_under_way_are_repeated(
    service: Service, tiny: Recipe, tmp_path: Path
) -> None:
    options = ["--benchmarks=knowledge", "--set=evaluate.knowledge.facts=30", f"--tokenizer={tiny.model.name}"]
    options += [f"--base-url={service.url}", "--concurrency=4", f"--output={tmp_path}"]
    command = [sys.executable, "-m", "needlework", "evaluate", "m", *options]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = subprocess.Popen(command, env=environment)
    service.faults["chat"].extend([Fault(accept=False, status=200, body=ANSWER)] * 17)
    service.faults["chat"].append(Fault(then=lambda: (process.kill(), process.wait())))
    assert process.wait(timeout=300) == -9
    kept = len(list(read(Prediction, tmp_path / "predictions-knowledge.jsonl.partial")))
    assert kept >= 18 - 4
    sent = len(service.calls)
    assert subprocess.run(command, env=environment, timeout=300).returncode == 0
    assert len(service.calls) - sent == 30 - kept
    assert len(list(read(Prediction, tmp_path / "predictions-knowledge.jsonl"))) == 30
