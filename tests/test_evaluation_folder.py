from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from needlework.errors import DataError, RecipeError
from needlework.evaluation_folder import DONE, SUMMARY, begin, finished, forget, predictions_file, saved
from needlework.storage import read_object, write_json


def of(name: str, fingerprint: str | None, **benchmarks: dict[str, int]) -> dict[str, Any]:
    return {"model": {"name": name, "fingerprint": fingerprint}, "seed": 0, "benchmarks": benchmarks}


def test_benchmarks_are_added_and_those_that_are_there_keep_their_settings(tmp_path: Path) -> None:
    begin(tmp_path, of("m", None, kv={"n": 1}), None)
    further = of("m", None, mdqa={"n": 2})
    begin(tmp_path, further, saved(tmp_path, further))
    assert read_object(tmp_path / "settings.json") == of("m", None, kv={"n": 1}, mdqa={"n": 2})
    with pytest.raises(RecipeError, match=r"holds another evaluation: benchmarks\.kv\.n is 1 there and 3 here"):
        saved(tmp_path, of("m", None, kv={"n": 3}))


def test_the_same_weights_at_another_path_are_the_same_model(tmp_path: Path) -> None:
    begin(tmp_path, of("run/model", "1"), None)
    assert saved(tmp_path, of("/moved/run/model", "1")) == of("run/model", "1")
    with pytest.raises(RecipeError, match=r"model\.fingerprint is '1' there and '2' here"):
        saved(tmp_path, of("run/model", "2"))


def test_models_of_the_hub_are_known_by_their_names(tmp_path: Path) -> None:
    begin(tmp_path, of("me/one", None), None)
    with pytest.raises(RecipeError, match=r"holds an evaluation of me/one, not of me/two"):
        saved(tmp_path, of("me/two", None))


def test_an_evaluation_is_finished_while_all_its_files_are_there(tmp_path: Path) -> None:
    assert finished(tmp_path) is None
    write_json(tmp_path / SUMMARY, {"benchmarks": {"kv": {}}})
    predictions_file(tmp_path, "kv").touch()
    assert finished(tmp_path) is None
    (tmp_path / DONE).write_text("kv\n")
    assert finished(tmp_path) == {"kv"}
    predictions_file(tmp_path, "kv").unlink()
    assert finished(tmp_path) is None


@pytest.mark.parametrize(("answers", "is_kept"), [(None, False), ("", False), ("{}\n", True)])
def test_a_folder_without_answers_is_forgotten(tmp_path: Path, answers: str | None, is_kept: bool) -> None:
    folder = tmp_path / "before"
    begin(folder, of("m", None), None)
    if answers is not None:
        (folder / "predictions-kv.jsonl.partial").write_text(answers)
    forget(folder)
    assert folder.exists() == is_kept


@pytest.mark.parametrize("content", ['{"model": null}', '{"benchmarks": []}', "[" * 100_000])
def test_damaged_settings_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(DataError, match=r"settings\.json is damaged"):
        saved(tmp_path, {"model": {"name": "m"}, "benchmarks": {}})
