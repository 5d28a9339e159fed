from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import DataError, ModelError
from needlework.looking import inspection
from needlework.looking.inspection import Inspection, _histogram, inspect, table
from needlework.models.chat import Renderer
from tests.looking.conftest import MAX_TOKENS, chats, encoded, finish, messages


def page(found: Inspection) -> str:
    console = Console(width=80, color_system=None, file=StringIO())
    console.print(table(found))
    return console.file.getvalue()  # type: ignore[attr-defined]


def look(folder: Path, data: SyntheticDataset) -> Inspection:
    return inspect(folder, lambda settings: data)


def test_every_format_gives_the_same_tokens_fill_and_share(data: SyntheticDataset, export: Path) -> None:
    found = look(export, data)
    lengths = [len(row.input_ids) for row in encoded(data)]
    supervised = sum(int((row.labels >= 0).sum()) for row in encoded(data))
    assert (found.haystacks, len(found.lengths), found.duplicates) == (6, 12, 0)
    assert found.tokens.tolist() == lengths
    assert found.fill == pytest.approx(np.mean(lengths) / MAX_TOKENS)
    assert found.supervised_share == pytest.approx(supervised / sum(lengths))


def test_depths_are_those_of_the_gold_items(data: SyntheticDataset, export: Path) -> None:
    depths = [each.position / (len(haystack.items) - 1) for haystack in data for each in haystack.needles]
    assert look(export, data).sample.depths == depths


def test_a_part_of_many_haystacks_is_made_again(
    data: SyntheticDataset, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "SAMPLE", 6)
    found = look(export, data)
    made = [len(row.input_ids) for index in (0, 2, 5) for row in data.encoded(index)]
    assert (found.sample.haystacks, found.sample.tokens) == (3, made)
    assert len(found.lengths) == 12


def test_rows_that_occur_again_are_counted(data: SyntheticDataset, tmp_path: Path) -> None:
    lines = [json.dumps({"messages": chat}) + "\n" for chat in chats(data)]
    (tmp_path / "train.jsonl").write_text("".join([*lines[:9], lines[0], lines[0], lines[8]]))
    assert look(finish(tmp_path), data).duplicates == 3


def test_rows_that_the_settings_do_not_make_give_no_depth(data: SyntheticDataset, export: Path) -> None:
    found = look(export, replace(data, seed=1))
    assert "row 1 is not what the manifest's settings make here" in found.sample.fault
    assert not found.sample.depths
    assert "Depth is not known: row 1" in " ".join(page(found).split())


def test_without_the_tokenizer_chats_are_counted_in_characters(data: SyntheticDataset, tmp_path: Path) -> None:
    def dataset(settings: object) -> SyntheticDataset:
        raise ModelError("there is no model folder x.")

    messages(data, tmp_path)
    found = inspect(finish(tmp_path), dataset)
    text = page(found)
    assert found.lengths.tolist() == [len(user["content"] + assistant["content"]) for user, assistant in chats(data)]
    assert f"characters  {found.lengths.sum():,}" in text
    assert "fill" not in text
    assert "Depth is not known: there is no model folder x." in text


def test_a_page_says_all_there_is(data: SyntheticDataset, export: Path) -> None:
    text = page(look(export, data))
    for part in ("checksums", "haystacks   6", "rows        12", "duplicates  0", "fill", "supervised", "12 needles"):
        assert part in text
    shares = [float(line.split(" %")[1]) for line in text.splitlines() if " to " in line and line.count("%") == 2]
    assert len(shares) == 10
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert max(map(len, text.splitlines())) <= 80


def test_a_row_too_few_is_an_error(data: SyntheticDataset, tmp_path: Path) -> None:
    messages(data, tmp_path)
    with pytest.raises(DataError, match="has 12 rows, but its manifest says 13"):
        look(finish(tmp_path, rows=13), data)


def test_progress_ends_at_its_total(data: SyntheticDataset, export: Path) -> None:
    seen: list[tuple[int, int]] = []
    inspect(export, lambda settings: data, lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 24)
    assert seen[-1] == (24, 24)


def test_conversations_have_a_row_for_each_haystack(data: SyntheticDataset, tmp_path: Path) -> None:
    talk = replace(data, renderer=Renderer(data.renderer.tokenizer, conversation=True))
    turns = chats(talk)
    lines = [json.dumps({"messages": [*turns[row], *turns[row + 1]]}) + "\n" for row in range(0, len(turns), 2)]
    (tmp_path / "train.jsonl").write_text("".join(lines))
    found = look(finish(tmp_path, rows=6), talk)
    assert found.tokens.tolist() == [talk.renderer.count(haystack) for haystack in talk]
    assert len(found.sample.depths) == 12


@pytest.mark.parametrize("key", ["format", "seed", "data", "model"])
def test_a_manifest_whose_settings_lack_something_is_named(data: SyntheticDataset, export: Path, key: str) -> None:
    manifest = json.loads((export / "manifest.json").read_text())
    del manifest["settings"][key]
    (export / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=rf"manifest\.json is damaged: its settings lack '{key}'"):
        look(export, data)


@pytest.mark.parametrize("change", [{"data": 5}, {"data": {"task": "x", "max_tokens": "many"}}, {"model": []}])
def test_a_manifest_whose_settings_are_of_other_kinds_is_refused(
    data: SyntheticDataset, export: Path, change: dict[str, object]
) -> None:
    manifest = json.loads((export / "manifest.json").read_text())
    manifest["settings"] |= change
    (export / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"manifest\.json is damaged: its settings h.* Generate the dataset again"):
        look(export, data)


def test_each_depth_is_in_its_own_tenth() -> None:
    grid = _histogram([place / 10 for place in range(11)])
    shares = list(grid.columns[1].cells)
    assert shares == ["9.1 %"] * 9 + ["18.2 %"]
