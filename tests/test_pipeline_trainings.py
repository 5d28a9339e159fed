from __future__ import annotations

from pathlib import Path

import pytest

from needlework import pipeline, recipe
from needlework.errors import RecipeError, UserError
from tests.test_pipeline import stamps, tiny

__all__ = ["tiny"]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_further_trainings_are_added_to_a_run_and_have_a_mean(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["data.haystacks=2", "evaluate={kv: {lengths: [500], depths: [0, 1], haystacks: 4}}"]
    pipeline.run(recipe.load(tiny, few), tmp_path)
    before = stamps(tmp_path)
    more = recipe.load(tiny, [*few, "trainings=3"])
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "finetune", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(more, tmp_path)
    # Nothing is left that would pass for what was asked for now.
    with pytest.raises(UserError, match=r"has no comparison\.json"):
        pipeline.report(tmp_path)
    comparison = pipeline.run(more, tmp_path)
    assert comparison["folders"] == ["before", "after", "seed-1/after", "seed-2/after"]
    rates = [each["benchmarks"]["kv"]["overall"] for each in (comparison, *comparison["others"], comparison["mean"])]
    assert rates[3]["after"] == pytest.approx(sum(each["after"] for each in rates[:3]) / 3, abs=1e-5)
    assert len({each["before"] for each in rates}) == 1
    made = [recipe.load(tmp_path / folder / "recipe.yaml") for folder in (".", "seed-1", "seed-2")]
    assert [(each.seed, each.trainings) for each in made] == [(0, 3), (1, 1), (2, 1)]
    weights = [(tmp_path / folder / "train/model/model.safetensors").read_bytes() for folder in (".", "seed-1")]
    assert weights[0] != weights[1]
    cards = [(tmp_path / folder / "train/model/README.md").read_text() for folder in (".", "seed-1")]
    assert all("Key-value retrieval" in card and "this is one run" in card for card in cards)
    assert not any("mean" in card for card in cards)
    again = {path.name for path, stamp in before.items() if stamps(tmp_path)[path] != stamp}
    assert "report.html" in again
    assert not again & {"predictions-kv.jsonl", "metrics.jsonl", "model.safetensors"}
    with pytest.raises(RecipeError, match="trainings is 3 there and 1 here"):
        pipeline.run(recipe.load(tiny, few), tmp_path)


def test_finetune_does_one_training(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="has 3 trainings, but `finetune` does one"):
        pipeline.finetune(recipe.load(tiny, ["trainings=3"]), tmp_path)
    assert not list(tmp_path.iterdir())
