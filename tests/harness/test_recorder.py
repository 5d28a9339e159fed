from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from needlework.errors import DataError, ModelError
from needlework.harness import recorder
from needlework.haystack import Prediction, read
from needlework.inference.hf import HFBackend
from needlework.models.chat import Renderer
from tests.conftest import CHAT_ML, make_tokenizer
from tests.harness.conftest import make, silent


def test_what_was_answered_before_a_kill_is_not_asked_again(
    local_tasks: Path, backend: HFBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (benchmark,) = make(local_tasks, "hellaswag", limit=4)
    whole = benchmark.ask(backend, tmp_path / "whole.jsonl", silent)
    path, responses = tmp_path / "hellaswag.jsonl", tmp_path / "hellaswag.jsonl.responses"
    ask, asked = HFLM.loglikelihood, []

    def killed(self: Any, requests: list[Any], disable_tqdm: bool = False) -> Any:
        if len(asked) == 8:
            raise KeyboardInterrupt
        asked.extend(requests)
        return ask(self, requests, disable_tqdm=disable_tqdm)

    monkeypatch.setattr(recorder, "AT_ONCE", 4)
    monkeypatch.setattr(HFLM, "loglikelihood", killed)
    with pytest.raises(KeyboardInterrupt):
        benchmark.ask(backend, path, silent)
    with responses.open("a") as file:
        file.write('["half of a li')
    assert (len(asked), path.exists()) == (8, False)
    asked.append("one more, so that it goes on")
    assert benchmark.ask(backend, path, silent) == whole
    assert len(asked) == 17
    assert not responses.exists()
    assert benchmark.ask(backend, path, silent) == whole == list(read(Prediction, path))
    assert len(asked) == 17
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    with pytest.raises(DataError, match=r"hellaswag\.jsonl lacks 1 needles, such as 'hellaswag/\d+'"):
        benchmark.ask(backend, path, silent)


def test_a_prompt_beyond_the_context_is_refused(local_tasks: Path, backend: HFBackend, tmp_path: Path) -> None:
    (benchmark,) = make(local_tasks, "gsm8k")
    backend.model.config.max_position_embeddings = 300
    with pytest.raises(ModelError, match=r"needs \d+ tokens with its answer, but the model's context is 300"):
        benchmark.ask(backend, tmp_path / "gsm8k.jsonl", silent)


@pytest.mark.parametrize("name", ["max_gen_toks", "max_new_tokens", "max_tokens"])
def test_an_answer_beyond_the_context_is_refused_by_whatever_name_its_length_has(
    backend: HFBackend, tmp_path: Path, name: str
) -> None:
    backend.model.config.max_position_embeddings = 300
    asking = recorder.Recorder(backend, 1, tmp_path / "responses", silent)
    request = Instance("generate_until", {}, ("How much?", {"until": ["\n"], name: 299}), 0)
    with pytest.raises(ModelError, match=r"needs \d+ tokens with its answer, but the model's context is 300"):
        asking.generate_until([request])


@pytest.mark.parametrize("until", [[""], "", ["", "zzz"]])
def test_an_answer_may_end_nowhere(backend: HFBackend, tmp_path: Path, until: Any) -> None:
    asking = recorder.Recorder(backend, 1, tmp_path / "responses", silent)
    request = Instance("generate_until", {}, ("How much?", {"until": until, "max_gen_toks": 4}), 0)
    assert asking.generate_until([request]) == [asking.full(*request.args)]


def test_the_chat_template_writes_the_same_every_day(backend: HFBackend, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(template="{{ strftime_now('%Y-%m-%d') }}: " + CHAT_ML)
    dated = HFBackend(backend.model, Renderer(tokenizer))
    asking = recorder.Recorder(dated, 1, tmp_path / "responses", silent)
    assert asking.apply_chat_template([{"role": "user", "content": "x"}]).startswith("2024-07-26: ")
