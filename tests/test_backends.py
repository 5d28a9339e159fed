from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from needlework import backends, pipeline
from needlework.backends import Asking, describe, measuring
from needlework.benchmark_settings import Evaluate, Knowledge
from needlework.inference.hf import HFBackend
from needlework.models.chat import Renderer
from needlework.models.loading import load_model
from needlework.recipe import Model


@pytest.fixture
def model(model_folder: Path) -> Model:
    return Model(name=str(model_folder), precision="fp32")


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("needlework.inference.cache.default_folder", lambda: tmp_path / "answers")
    return tmp_path / "answers"


def kept(model: Model, folder: Path, facts: int = 4, asking: Asking | None = None) -> int:
    pipeline.evaluate(model, Evaluate(knowledge=Knowledge(facts=facts)), 0, folder, asking=asking)
    summary = json.loads((folder / "summary.json").read_text())
    return int(summary["benchmarks"]["knowledge"]["kept"])


def test_what_is_installed_by_another_name_tells_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__version__="0.32.0"))
    assert describe("vllm", "vllm")["vllm"] == "0.32.0"


def test_vllm_is_asked_and_not_looked_into(
    model: Model, answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # vLLM's own object holds no model that could be measured.
    monkeypatch.setattr("needlework.analysis.build_measures", None)
    monkeypatch.setattr("needlework.inference.vllm.load", lambda name, **options: load_model(name))
    monkeypatch.setattr("needlework.inference.vllm.VLLMBackend", HFBackend)
    chosen = Evaluate(knowledge=Knowledge(facts=4))
    pipeline.evaluate(model, chosen, 0, tmp_path / "run", asking=Asking(backend="vllm"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["benchmarks"]["knowledge"]["answered_by"]["backend"] == "vllm"


def test_a_second_run_asks_only_what_is_new(model: Model, answers: Path, tmp_path: Path) -> None:
    assert [kept(model, tmp_path / "1"), kept(model, tmp_path / "2", facts=6), kept(model, tmp_path / "3", 6)] == [
        0,
        4,
        6,
    ]
    name = "predictions-knowledge.jsonl"
    assert (tmp_path / "3" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_without_a_cache_nothing_is_taken_or_kept(model: Model, answers: Path, tmp_path: Path) -> None:
    assert kept(model, tmp_path / "1", asking=Asking(cache=False)) == 0
    assert not answers.exists()


def test_other_weights_are_another_model(model: Model, answers: Path, tmp_path: Path) -> None:
    assert kept(model, tmp_path / "1") == 0
    copied = tmp_path / "copy"
    shutil.copytree(model.name, copied)
    same = model.model_copy(update={"name": str(copied)})
    assert kept(same, tmp_path / "2") == 4
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    assert kept(same, tmp_path / "3") == 0


def test_what_runs_code_of_its_own_keeps_nothing(model: Model) -> None:
    trusted = model.model_copy(update={"trust_remote_code": True})
    assert measuring(Asking(), model, print)["cache"]() is not None
    assert measuring(Asking(), trusted, print)["cache"]() is None


def test_versions_number_format_and_device_are_told(model: Model) -> None:
    told = measuring(Asking(), model, print)["answered_by"]()
    assert told.keys() == {"backend", "needlework", "torch", "transformers", "dtype", "device"}
    assert told["dtype"] == "fp32"
    assert describe("x", "no-such-package")["no-such-package"] == "not installed"


def test_the_hf_backend_is_loaded(model: Model, renderer: Renderer) -> None:
    assert isinstance(backends.load("hf", model, renderer), HFBackend)
