from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from needlework.cli_data import default_folder
from needlework.dataset.formats import FORMATS
from tests.official.conftest import write_config
from tests.test_cli import call, refused


@pytest.mark.parametrize("recipe", ["gpt-3.5-turbo", "mine/gpt-3.5-turbo.yaml", "gpt-3.5-turbo.yml"])
def test_a_runs_folder_has_the_whole_name_of_its_recipe(recipe: str) -> None:
    assert default_folder(recipe) == Path("runs/gpt-3.5-turbo")


def test_show_prints_a_sample_of_a_task_or_recipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model_folder: Path
) -> None:
    options = ["--model", str(model_folder), "--max-tokens", "600", "--needles", "2", "--index", "7"]
    pages = []
    for source in ("simple_dict", "smollm2-135m"):
        assert call(monkeypatch, "show", source, *options, "--set", "data.items=null") == 0
        pages.append(capsys.readouterr().out)
    assert pages[0].startswith("simple_dict, sample 7 of seed 0")
    assert "«The value of key" in pages[0]
    assert pages[0] == pages[1]


def test_show_marks_with_signs_only_where_there_is_no_colour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model_folder: Path
) -> None:
    options = ["--model", str(model_folder), "--max-tokens", "600", "--needles", "2"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert call(monkeypatch, "show", "simple_dict", *options) == 0
    colourful = capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert call(monkeypatch, "show", "simple_dict", *options) == 0
    assert "«" not in colourful
    assert "«" in capsys.readouterr().out


def test_a_file_of_haystacks_may_begin_with_a_byte_order_mark_and_have_any_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    path = tmp_path / "haystacks.txt"
    path.write_text('{"needles": [{"question": "q", "answer": "a"}]}', encoding="utf-8-sig")
    assert call(monkeypatch, "show", str(path), "--model", str(model_folder)) == 0
    assert "needles    1" in capsys.readouterr().out


def test_show_prints_a_row_of_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    path = tmp_path / "haystacks.jsonl"
    asked = [{"question": f"Who is number {each}?", "answer": "Number 7 is Ann."} for each in range(3)]
    needles = [{**each, "accepted": ["Ann"], "position": 1} for each in asked]
    lines = [{"items": ["It is late.", "Ann came in.", "She left."], "needles": needles}]
    lines.append({"needles": [{"question": "Ann came in. Who came in?", "answer": "Ann."}]})
    path.write_text("\n".join(map(json.dumps, lines)))
    pages = []
    for index in ("0", "1", "2", "3"):
        code = call(monkeypatch, "show", str(path), "--model", str(model_folder), "--needles", "2", "--index", index)
        assert code == (0 if index != "3" else 2)
        pages.append(capsys.readouterr())
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"data: {{file: {path}, needles: 2, max_tokens: 2048}}\nmodel: {{name: {model_folder}}}")
    assert call(monkeypatch, "show", str(recipe)) == 0
    assert capsys.readouterr().out == pages[0].out
    other = path.rename(tmp_path / "haystacks.txt")
    assert call(monkeypatch, "show", str(other), "--model", str(model_folder), "--needles", "2") == 0
    assert capsys.readouterr().out == pages[0].out.replace("haystacks.jsonl", "haystacks.txt")
    first, second, third = sorted(page.out for page in pages[:3])
    assert first.startswith("own, line 1 of haystacks.jsonl, needles 1 to 1")
    assert "1 ▸ «Ann» came in." in first
    assert second.startswith("own, line 1 of haystacks.jsonl, needles 2 to 3")
    assert third.startswith("own, line 2 of haystacks.jsonl, needles 1 to 1")
    assert "Who came in?" in third
    assert "--index 3 is beyond the 3 rows" in pages[3].err


def test_show_says_by_how_much_a_row_of_a_file_is_too_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    path = tmp_path / "haystacks.jsonl"
    path.write_text(json.dumps({"needles": [{"question": "Ann came in. Who came in?", "answer": "Ann."}]}))
    assert call(monkeypatch, "show", str(path), "--model", str(model_folder), "--max-tokens", "5") == 0
    tokens, more = re.findall(r"(\d+) of 5 in the longest row: (\d+) too many", capsys.readouterr().out)[0]
    assert int(tokens) == 5 + int(more)


@pytest.mark.parametrize(
    ("format", "conversation"), [*((format, False) for format in FORMATS), ("messages", True), ("tokens", True)]
)
def test_inspect_reads_what_generate_writes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    model_folder: Path,
    format: str,
    conversation: bool,
) -> None:
    options = ["--model", str(model_folder), "--max-tokens", "600", "--num-haystacks", "10", "--needles", "2"]
    options += ["--format", format, *(["--conversation"] if conversation else [])]
    assert call(monkeypatch, "generate", "simple_dict", *options, "--output", str(tmp_path)) == 0
    capsys.readouterr()
    assert call(monkeypatch, "inspect", str(tmp_path)) == 0
    text = capsys.readouterr().out
    assert f"rows        {10 if conversation else 20}\n" in "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    assert "Depth of the gold item, 0 % the first item (20 needles)" in text


def test_inspect_reads_what_generate_official_writes_for_each_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    path = write_config(tmp_path, num_train=4, num_eval=3, num_dicts=30, frac_top5=0, max_token=2500, alias="name")
    for seed in ("0", "1"):
        options = ["--model", str(model_folder), "--seed", seed, "--output", str(tmp_path / "out")]
        assert call(monkeypatch, "generate", "--official", str(path), *options) == 0
    capsys.readouterr()
    assert call(monkeypatch, "inspect", str(tmp_path / "out")) == 0
    text = "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())
    for seed in ("0", "1"):
        assert f"name, seed {seed}, as messages in" in text
    assert text.count("rows        7\n") == text.count("checksums   all right (2 files)\n") == 2
    assert text.count("of 2,500 tokens on average") == text.count("first item (7 needles)") == 2


@pytest.mark.parametrize("change", [{"rows": "x"}, {"files": []}, {"settings": []}])
def test_inspect_refuses_a_manifest_of_other_kinds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, change: dict[str, object]
) -> None:
    manifest = {"settings": {}, "haystacks": 1, "rows": 1, "files": {}} | change
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert call(monkeypatch, "inspect", str(tmp_path)) == 2
    assert "manifest.json is not the manifest of a dataset" in capsys.readouterr().err


def test_inspect_names_a_damaged_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path
) -> None:
    options = ["--model", str(model_folder), "--max-tokens", "600", "--num-haystacks", "3", "--needles", "2"]
    assert call(monkeypatch, "generate", "simple_dict", *options, "--output", str(tmp_path)) == 0
    shard = next(tmp_path.rglob("*.jsonl"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert call(monkeypatch, "inspect", str(tmp_path)) == 2
    assert f"{shard} is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "simple_dikt"], "no task, recipe or file 'simple_dikt'. Did you mean 'simple_dict'?"),
        (["show", "x"], "no task, recipe or file 'x'. Known: simple_dict"),
        (["show", "simple_dict", "--set", "data.params.key_digit=3"], "Did you mean 'key_digits'?"),
        (["show", "simple_dict", "--max-tokens", "50"], "Raise max_tokens to at least"),
        (["show", "simple_dict", "--model", "./none"], "there is no model folder ./none"),
        (["inspect", "nowhere"], "there is no folder nowhere"),
        (["inspect", "."], "no finished dataset: it has no manifest.json"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(monkeypatch, capsys, *arguments)
