"""Training on a file of haystacks: through the pipeline, with a model and a tokenizer made here."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from needlework import own_data, pipeline, preparation, recipe
from needlework.errors import DataError, RecipeError, UserError
from needlework.models.chat import Renderer
from needlework.models.loading import load_model, load_tokenizer
from needlework.progress import Silent, Update
from needlework.recipe import Recipe
from needlework.train.trainable import select
from tests.test_cli import call

SEED = 3
PAGE = Path(__file__).parent.parent / "docs" / "own-data.md"
BLOCK = re.compile(
    r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?|^    needlework ([^\n]*)$", flags=re.DOTALL | re.MULTILINE
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of six documents of different length, one of which has more questions than a row holds."""
    path = tmp_path / "haystacks.jsonl"
    lines = []
    for number in range(6):
        text = [f"Clause {clause} of lease {number}: pay {17 * clause} euros." for clause in range(3 + number)]
        needles = [
            {"question": f"What does clause {each} ask?", "answer": f"It asks for {17 * each} euros."}
            for each in range(5 if number == 4 else 2 + number % 2)
        ]
        lines.append(json.dumps({"items": text, "needles": needles}))
    path.write_text("\n".join(lines))
    return path


def make_recipe(path: Path, model: Path, **train: Any) -> Recipe:
    settings = {"learning_rate": 0.01, "batch_size": 2, "epochs": 2, "checkpoint_steps": 2, **train}
    data = {"file": str(path), "needles": 3, "max_tokens": 1000}
    values = {"model": {"name": str(model), "precision": "fp32"}, "data": data, "train": settings, "seed": SEED}
    return recipe.parse(values)


def test_a_check_holds_texts_of_the_file_out(path: Path, model_folder: Path, tmp_path: Path) -> None:
    chosen = make_recipe(path, model_folder, check={"steps": 2, "needles": 4, "target": None})
    rows, answers = own_data.count(chosen)
    pipeline.finetune(chosen, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/train/metrics.jsonl").read_text().splitlines()]
    # Of 18 needles, in an epoch.
    assert answers <= 14
    assert (lines[-1]["answers"], lines[-1]["step"]) == (2 * answers, chosen.train.steps(rows))
    assert [line["step"] for line in lines if "held_out_value" in line] == [2, 4, 6][: chosen.train.steps(rows) // 2]


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "train/metrics.jsonl").read_text().splitlines()]


def test_training_equals_separate_rows(path: Path, model_folder: Path, tmp_path: Path) -> None:
    """Against a loop of plain PyTorch that gives every question a row of its own, in the untouched model."""
    chosen = make_recipe(path, model_folder, epochs=1)
    pipeline.finetune(chosen, tmp_path / "run")
    renderer = Renderer(load_tokenizer(str(model_folder)))
    data, _ = preparation.training_data(chosen, renderer)
    assert sorted(len(haystack.needles) for haystack in data) == [2, 2, 2, 3, 3, 3, 3]
    model = select(load_model(str(model_folder)), "attention")
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0)
    expected = []
    for batch in [range(start, min(start + 2, 7)) for start in range(0, 7, 2)]:
        rows = [row for index in batch for row in renderer.rows(data[index])]
        tokens = sum(len(completion) for _, completion in rows)
        expected.append(0.0)
        for prompt, completion in rows:
            ids = torch.tensor([prompt + completion])
            logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
            loss = cross_entropy(logits, ids[0, len(prompt) :], reduction="sum") / tokens
            loss.backward()
            expected[-1] += loss.item()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert losses(tmp_path / "run") == pytest.approx(expected, rel=1e-3)
    assert expected[-1] < expected[0]


class Stopping(Silent):
    """Stops the training at a step, as Ctrl-C does."""

    @contextmanager
    def bar(self, label: str) -> Iterator[Update]:
        def update(done: int, total: int, note: str = "") -> None:
            if done == 5:
                raise KeyboardInterrupt

        yield update


def test_a_training_that_was_stopped_ends_with_the_same_bits(path: Path, model_folder: Path, tmp_path: Path) -> None:
    """Stopped in the second epoch, behind a checkpoint."""
    chosen = make_recipe(path, model_folder)
    pipeline.finetune(chosen, tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        pipeline.finetune(chosen, tmp_path / "stopped", Stopping())
    assert not (tmp_path / "stopped/train/model").exists()
    pipeline.finetune(chosen, tmp_path / "stopped")
    expected, found = (
        load_file(tmp_path / name / "train/model/model.safetensors") for name in ("undisturbed", "stopped")
    )
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert losses(tmp_path / "stopped") == losses(tmp_path / "undisturbed")


def test_a_run_that_began_with_another_content_is_refused(path: Path, model_folder: Path, tmp_path: Path) -> None:
    chosen, run = make_recipe(path, model_folder), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        pipeline.finetune(chosen, run, Stopping())
    noted = recipe.load(run / "recipe.yaml")
    assert noted.data.sha256 is not None
    path.write_text(path.read_text().replace("euros", "pounds"))
    # With the recipe that was given first, and with the one that the run noted.
    for again in (chosen, noted):
        with pytest.raises(RecipeError) as error:
            pipeline.finetune(again, run)
        assert f"{path} has changed: its sha256 was {noted.data.sha256[:12]}… when" in str(error.value)
    assert not (run / "train/model").exists()


def test_a_line_that_is_too_long_is_found_before_anything_is_written(
    path: Path, model_folder: Path, tmp_path: Path
) -> None:
    chosen = make_recipe(path, model_folder)
    chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"max_tokens": 250})})
    with pytest.raises(DataError, match=r"haystacks\.jsonl, line 6: prompt and answer have \d+ tokens"):
        pipeline.run(chosen, tmp_path / "run")
    assert {each.name for each in (tmp_path / "run").iterdir()} == {"recipe.yaml", "environment.json"}


def test_a_recipes_own_haystacks_give_way_to_a_file() -> None:
    chosen = recipe.load("smollm2-135m", [*own_data.overrides(Path("a: 🪡.jsonl")), "data.needles=4"])
    assert (chosen.data.file, chosen.data.needles, chosen.data.max_tokens) == ("a: 🪡.jsonl", 4, 2048)
    assert chosen.data.items is None
    assert chosen.train == recipe.load("smollm2-135m").train


def test_rows_and_answers_are_counted_without_a_model(path: Path) -> None:
    assert own_data.count(make_recipe(path, Path("none"))) == (7, 18)
    assert own_data.count(recipe.load("smollm2-135m")) == (60, 480)


def test_a_missing_file_is_a_user_error(path: Path) -> None:
    chosen = make_recipe(path.with_name("none.jsonl"), Path("none"))
    for read in (own_data.count, own_data.pin):
        with pytest.raises(DataError, match=r"cannot read .*none\.jsonl: No such file"):
            read(chosen)


def test_a_file_is_not_written_as_synthetic_data(path: Path, renderer: Renderer) -> None:
    with pytest.raises(UserError, match="only synthetic haystacks are written as training data"):
        preparation.dataset(make_recipe(path, Path("none")), renderer)


def test_the_page_of_own_data_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    """Its code and its commands, in order, but for those that need files of the reader's."""
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    model, called = ["--set", f"model.name={model_folder}", "--set", "model.precision=fp32"], []
    for code, printed, command in BLOCK.findall(page):
        if code:
            exec(code, {})
            assert capsys.readouterr().out == printed
            continue
        name, *arguments = shlex.split(command)
        (source, *_) = [each for each in arguments if each.endswith((".json", ".jsonl"))]
        if Path(source).exists():
            called.append(name)
            assert call(monkeypatch, name, *arguments, *([] if name == "convert" else model)) == 0
            output = capsys.readouterr().out
            assert name != "convert" or output.strip() in page
    assert called == ["show", "finetune", "finetune", "convert"]
    assert Path("runs/leases/train/model/model.safetensors").exists()
