from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from needlework import hosted, pipeline, recipe
from needlework.benchmark_settings import KV, MDQA, Evaluate
from needlework.errors import DataError, RecipeError, UserError
from needlework.haystack import Prediction, read
from needlework.hosted import Offer
from needlework.recipe import Data, Recipe
from tests.hosting import KEY, LOST, Fault, Service, error
from tests.submitting import Confirm, solve, submit


def test_a_run_from_the_recipe_to_the_comparison(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    service.reply = solve
    retrieval = Evaluate(kv=KV(lengths=(500,), depths=(0, 1), haystacks=4))
    job = submit(tiny.model_copy(update={"evaluate": retrieval}), tmp_path, service)
    hosted.evaluate(tmp_path, "before", Confirm())
    service.happened[job.id].append({"id": "e", "message": "done"})
    service.end("succeeded")
    assert hosted.wait(tmp_path) == service.jobs[0]["fine_tuned_model"]
    hosted.evaluate(tmp_path, "after", Confirm())
    comparison = pipeline.write_comparison(tmp_path / "before", tmp_path / "after", tmp_path)
    row = comparison["benchmarks"]["kv"]["overall"]
    assert (row["n"], row["before"], row["after"]) == (8, 0, 1)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    expected = {"recipe.yaml", "environment.json", "hosted/job.json", "hosted/events.jsonl", "comparison.json"}
    expected |= {"hosted/data/train.jsonl", "hosted/data/manifest.json", "after/predictions-kv.jsonl", "after/done"}
    assert expected <= files
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_nothing_is_paid_for_that_would_be_measured_on_its_own_training_text(
    service: Service, tiny: Recipe, tmp_path: Path
) -> None:
    text = {"data": Data(task="mdqa", needles=1), "evaluate": Evaluate(mdqa=MDQA(half="train"))}
    with pytest.raises(UserError, match=r"evaluate\.mdqa\.half is train"):
        submit(tiny.model_copy(update=text), tmp_path, service)
    assert not service.jobs


def test_what_is_sent_is_what_was_written_with_the_papers_system_message(
    service: Service, tiny: Recipe, tmp_path: Path
) -> None:
    submit(tiny, tmp_path, service)
    lines = (tmp_path / "hosted/data/train.jsonl").read_text().splitlines()
    assert service.files[0]["lines"] == lines
    assert len(lines) == 12
    first, *_ = json.loads(lines[0])["messages"]
    assert first == {"role": "system", "content": "Write a response that appropriately completes the request."}
    assert recipe.load(tmp_path / "recipe.yaml").model.system == first["content"]


def test_the_answers_are_asked_for_with_the_same_system_message(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    submit(tiny, tmp_path, service)
    hosted.evaluate(tmp_path, "before", Confirm())
    bodies = [body for operation, body in service.bodies if operation == "chat"]
    assert {body["messages"][0]["content"] for body in bodies} == {
        "Write a response that appropriately completes the request."
    }
    assert {(body["model"], body["temperature"]) for body in bodies} == {("base-model", 0)}


def test_together_gets_no_system_message_and_lora_for_attention(tiny: Recipe, tmp_path: Path, service: Service) -> None:
    service.style = "together"
    submit(tiny, tmp_path, service, host="together")
    assert [message["role"] for message in json.loads(service.files[0]["lines"][0])["messages"]] == [
        "user",
        "assistant",
    ]
    assert service.jobs[0]["training_type"] == {"type": "Lora", "lora_r": 16, "lora_alpha": 32}


def test_a_conversation_pays_for_its_haystack_once(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    larger = tiny.model_copy(update={"data": tiny.data.model_copy(update={"haystacks": 12})})
    submit(larger, tmp_path, service, conversation=True)
    lines = service.files[0]["lines"]
    assert len(lines) == 12
    assert [each["role"] for each in json.loads(lines[0])["messages"]] == ["system", *["user", "assistant"] * 2]


def test_the_user_is_asked_with_the_cost_and_its_basis(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    confirm = Confirm()
    submit(tiny, tmp_path, service, confirm)
    (question,) = confirm.asked
    about = (
        r"About \$(\S+): (\S+) tokens in 12 examples \(counted with the tokenizer of .*\) x 3 epochs x \$8\.00 per mil"
    )
    cost, tokens = re.match(about, question).groups()  # type: ignore[union-attr]
    assert float(cost) == round(int(tokens.replace(",", "")) * 3 * 8 / 1e6, 2)
    assert question.endswith("Send it to 127.0.0.1?")


def test_without_agreement_nothing_is_sent_and_the_next_call_asks_again(
    service: Service, tiny: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="nothing was sent"):
        submit(tiny, tmp_path, service, Confirm(agree=False))
    assert service.calls == []
    confirm = Confirm()
    submit(tiny, tmp_path, service, confirm, price=4.0)
    assert "x $4.00 per million" in confirm.asked[0]
    assert len(service.jobs) == 1


def test_the_base_model_is_measured_before_anything_is_paid_for_training(
    service: Service, tiny: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="nothing was sent"):
        submit(tiny, tmp_path, service, Confirm(agree=False))
    confirm = Confirm()
    hosted.evaluate(tmp_path, "before", confirm)
    assert re.match(r"8 prompts of about [\d,]+ tokens in all \(counted with the tokenizer of ", confirm.asked[0])
    assert len(list(read(Prediction, tmp_path / "before/predictions-knowledge.jsonl"))) == 8


@pytest.mark.parametrize(("answered", "asked"), [(5, ["3 prompts of"]), (8, [])])
def test_an_evaluation_that_continues_asks_about_what_is_left(
    service: Service, tiny: Recipe, tmp_path: Path, answered: int, asked: list[str]
) -> None:
    with pytest.raises(UserError, match="nothing was sent"):
        submit(tiny, tmp_path, service, Confirm(agree=False))
    folder, confirm = tmp_path / "before", Confirm()
    hosted.evaluate(tmp_path, "before", Confirm())
    predictions = folder / "predictions-knowledge.jsonl"
    lines = predictions.read_text().splitlines(keepends=True)
    for path in (predictions, folder / "summary.json", folder / "done"):
        path.unlink()
    (folder / "predictions-knowledge.jsonl.partial").write_text("".join(lines[:answered]))
    hosted.evaluate(tmp_path, "before", confirm)
    assert [question[:12] for question in confirm.asked] == asked
    assert predictions.read_text() == "".join(lines)


def test_what_was_agreed_to_is_completed_without_asking_again(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    service.faults["create"].append(error(400, "not now"))
    with pytest.raises(UserError, match="not now"):
        submit(tiny, tmp_path, service)
    confirm = Confirm()
    submit(tiny, tmp_path, service, confirm)
    assert not confirm.asked
    assert service.calls == ["upload", "create", "create"]


def test_a_submitted_run_sends_nothing_more(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    job, calls = submit(tiny, tmp_path, service), list(service.calls)
    assert submit(tiny, tmp_path, service) == job
    assert service.calls == calls


@pytest.mark.slow
def test_killed_after_the_host_accepted_the_job_the_next_call_finds_it(
    service: Service, tiny: Recipe, tmp_path: Path
) -> None:
    path, output = tmp_path / "tiny.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(tiny.model_dump(mode="json")))
    arguments = ["hosted", "submit", str(path), "--price=8", "--yes", f"--base-url={service.url}", f"--output={output}"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-m", "needlework", *arguments], env=environment)
    service.faults["create"].append(Fault(accept=True, then=lambda: (process.kill(), process.wait())))
    assert process.wait(timeout=120) == -9
    assert json.loads((output / "hosted/job.json").read_text())["job"] is None
    assert submit(tiny, output, service, Confirm(agree=False)).id == service.jobs[0]["id"]
    assert len(service.jobs) == 1


def test_another_recipe_or_host_is_refused(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    service.faults["create"].append(error(400))
    with pytest.raises(UserError):
        submit(tiny, tmp_path, service)
    other = tiny.model_copy(update={"seed": 1})
    with pytest.raises(RecipeError, match="holds a run of another recipe: seed is 0 there and 1 here"):
        submit(other, tmp_path, service)
    with pytest.raises(UserError, match="holds a job at another host"):
        submit(tiny, tmp_path, service, base_url="http://127.0.0.1:1/v1")
    assert service.calls == ["upload", "create"]


def test_a_recipe_without_a_hosted_model_says_how_to_name_one(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    nameless = tiny.model_copy(update={"hosted": recipe.Hosted()})
    with pytest.raises(RecipeError, match=r"--set hosted\.model=NAME"):
        submit(nameless, tmp_path, service)
    assert not list(tmp_path.iterdir())


def test_a_missing_key_is_said_before_anything_is_made(
    service: Service, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match="OPENAI_API_KEY is not set"):
        submit(tiny, tmp_path, service)
    assert not list(tmp_path.iterdir())


def test_what_the_host_would_refuse_is_not_sent_and_can_be_mended(
    service: Service, tiny: Recipe, tmp_path: Path
) -> None:
    few = tiny.model_copy(update={"data": tiny.data.model_copy(update={"haystacks": 4})})
    with pytest.raises(UserError, match="no fewer than 10 examples, not 8"):
        submit(few, tmp_path, service)
    assert service.calls == []
    submit(tiny, tmp_path, service)
    assert len(service.jobs) == 1


def test_examples_that_the_model_would_cut_off_are_not_sent(
    service: Service, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("needlework.dataset.formats.openai.GPT_35_MAX_TOKENS", 100)
    old = tiny.model_copy(update={"hosted": recipe.Hosted(model="gpt-3.5-turbo-1106")})
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(UserError, match=r"gpt-3\.5-turbo-1106 is trained on the first 100, without the answer"):
        submit(old, tmp_path, service)
    assert service.calls == []


def test_training_data_that_were_changed_are_not_sent(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was sent"):
        submit(tiny, tmp_path, service, Confirm(agree=False))
    with (tmp_path / "hosted/data/train.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(DataError):
        submit(tiny, tmp_path, service)
    assert service.calls == []


def test_two_processes_do_not_submit_one_run_at_once(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    def again(question: str) -> None:
        for seed in (tiny.seed, 9):
            with pytest.raises(UserError, match="another process is at work"):
                submit(tiny.model_copy(update={"seed": seed}), tmp_path, service)
        assert recipe.load(tmp_path / "recipe.yaml").seed == tiny.seed

    hosted.submit(tiny, tmp_path, Offer("openai", service.url, 8.0), again)
    assert len(service.jobs) == 1


def test_openai_is_said_to_close_and_others_are_not(
    service: Service, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("needlework.progress.Silent.say", lambda self, text: said.append(text))
    for url, closes in ((service.url, False), (hosted.OPENAI_URL, True)):
        with pytest.raises(UserError):
            submit(tiny, tmp_path / str(closes), service, Confirm(agree=False), base_url=url)
        assert any("from 6 January 2027 on from nobody" in text for text in said) is closes


def test_a_lost_answer_leaves_one_job_in_a_whole_run(service: Service, tiny: Recipe, tmp_path: Path) -> None:
    service.faults["upload"].append(LOST)
    service.faults["create"].append(LOST)
    assert submit(tiny, tmp_path, service).id == service.jobs[0]["id"]
    assert (len(service.files), len(service.jobs)) == (1, 1)
