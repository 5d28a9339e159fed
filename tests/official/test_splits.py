from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from needlework.errors import BudgetError, DataError, RecipeError
from needlework.models.loading import load_tokenizer, tokenizer_fingerprint
from needlework.official import generate, samples
from needlework.official.config import load
from needlework.official.splits import Split, gold_positions
from tests.official.conftest import MULTI, documented, official_samples, write_config

ALIAS = "simpledict_ndicts85_34_wtemplate_ordered_5_3"


def split(tmp_path: Path, name: str = "train", seed: int = 0, **changes: object) -> Split:
    """Return a split whose tokens are digits, so that the budget is easy to reckon."""
    return Split(load(write_config(tmp_path, **changes)), name, seed, lambda prompt: len(re.findall(r"\d", prompt)))


def dictionaries(row: dict[str, Any]) -> list[list[tuple[int, int]]]:
    lines = re.findall(r"^Dictionary \[\d+\] \{(.*)\}$", row["messages"][0]["content"], flags=re.MULTILINE)
    return [[(int(key), int(value)) for key, value in re.findall(r"(\d+): (\d+)", line)] for line in lines]


def gold(row: dict[str, Any]) -> tuple[int, int, int]:
    """Return the gold key, its value and the name of its dictionary."""
    key, value, name = map(int, re.findall(r"\d+", row["messages"][1]["content"]))
    return key, value, name


def anonymous(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return who says which line, without the numbers that are drawn."""
    said = []
    for message in row["messages"]:
        text = re.sub(r"\d+: \d+(, \d+: \d+)*", "PAIRS", message["content"])
        text = re.sub(r"(key|is) \d+|in Dictionary \[\d+\]\.", r"\1 N", text)
        said += [(message["role"], line) for line in text.split("\n")]
    return said


def digits(rows: Iterable[dict[str, Any]], part: int) -> Counter[int]:
    """Count the digits of keys (0) or values (1) that are not gold."""
    found = (pair for row in rows for pairs in dictionaries(row) for pair in pairs if pair[0] != gold(row)[0])
    return Counter(len(str(pair[part])) for pair in found)


def alike(one: Counter[int], other: Counter[int]) -> bool:
    assert one.keys() == other.keys()
    table = [[counts[key] for key in sorted(one)] for counts in (one, other)]
    return bool(stats.chi2_contingency(table).pvalue > 0.01)


@pytest.mark.parametrize("template", [True, False])
def test_a_sample_has_the_form_of_the_official_ones_line_by_line(tmp_path: Path, template: bool) -> None:
    name = "form2_unshuffled_singlesk" + "_wtemplate" * template
    row, _ = split(tmp_path, num_dicts=60, prompt_name=name).sample(0)
    for official in official_samples(template):
        assert anonymous(row) == anonymous(official)
        assert row.keys() == official.keys()


def test_sizes_and_digits_are_those_of_the_official_samples(tmp_path: Path) -> None:
    made = [split(tmp_path, num_dicts=60).sample(index)[0] for index in range(60)]
    official = official_samples(True) + official_samples(False)
    for part in (0, 1):
        assert alike(digits(made, part), digits(official, part))
    sizes = [
        Counter(len(pairs) for row in rows for name, pairs in enumerate(dictionaries(row), 1) if name != gold(row)[2])
        for rows in (made, official)
    ]
    assert alike(*sizes)
    assert {len(dictionaries(row)[gold(row)[2] - 1]) for row in (*made, *official)} == {3}


def test_numbers_and_sizes_follow_the_distributions_of_the_official_code(tmp_path: Path) -> None:
    rows = [split(tmp_path).sample(index)[0] for index in range(120)]
    others = [pairs for row in rows for name, pairs in enumerate(dictionaries(row), 1) if name != gold(row)[2]]
    sizes = Counter(map(len, others))
    assert stats.binomtest(sizes[3], sizes.total()).pvalue > 0.01
    for part in (0, 1):
        numbers = np.array([pair[part] for pairs in others for pair in pairs])
        # The number of digits first, then uniformly: half of all lie in each decade, evenly.
        assert stats.binomtest(int((numbers < 1000).sum()), len(numbers)).pvalue > 0.01
        for low in (100, 1000):
            decade = numbers[(numbers >= low) & (numbers < 10 * low)]
            assert stats.kstest(decade, stats.uniform(low, 9 * low).cdf).pvalue > 0.01


def test_the_gold_pair_stands_anywhere_in_its_dictionary(tmp_path: Path) -> None:
    slots = Counter[int]()
    for index in range(300):
        row, _ = split(tmp_path, num_dicts=20).sample(index)
        key, value, name = gold(row)
        slots[dictionaries(row)[name - 1].index((key, value))] += 1
    assert stats.chisquare([slots[slot] for slot in range(3)]).pvalue > 0.01


@pytest.mark.parametrize(("size", "first", "forced", "front"), [(350, 17, 10, 17), (150, 7, 4, 7)])
def test_exact_numbers_of_samples_are_forced_to_the_front(
    tmp_path: Path, size: int, first: int, forced: int, front: int
) -> None:
    config = load(write_config(tmp_path))
    drawn = np.array([gold_positions(config, size, np.random.default_rng(seed)) for seed in range(200)])
    # What is not forced is uniform over the 85 places.
    uniform = size - first - forced
    expected = np.full(85, uniform / 85)
    expected[:front] += forced / front
    expected[0] += first
    assert (drawn == 0).sum(axis=1).min() >= first
    assert (drawn < front).sum(axis=1).min() >= first + forced
    assert stats.chisquare(np.bincount(drawn.ravel(), minlength=85), 200 * expected).pvalue > 0.01
    # The exact numbers vary less than if each sample threw a coin.
    assert (drawn == 0).sum(axis=1).var() < 0.8 * size * 0.06


def test_without_fractions_all_places_are_alike(tmp_path: Path) -> None:
    config = load(write_config(tmp_path, frac_0=0, frac_top5=0))
    drawn = gold_positions(config, 20_000, np.random.default_rng(0))
    assert stats.chisquare(np.bincount(drawn, minlength=85)).pvalue > 0.01


def test_samples_hold_their_gold_where_the_positions_say(tmp_path: Path) -> None:
    each = split(tmp_path)
    positions = gold_positions(each.config, 350, np.random.default_rng([0, 0]))
    assert [gold(each.sample(index)[0])[2] - 1 for index in range(60)] == positions[:60]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frac_0": 0.9, "frac_top5": 0.2}, "take 385 of 350 samples"),
        ({"num_dicts": 10}, "among the first 17 dictionaries, 5 % of 350 samples, but there are 10"),
        ({"num_train": 19, "frac_top5": 0.5}, "among the first 0 dictionaries"),
    ],
)
def test_fractions_that_do_not_fit_are_refused_with_numbers(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        split(tmp_path, **changes)


def test_a_sample_that_is_too_long_is_drawn_again(tmp_path: Path) -> None:
    # About 85 * (3.5 * 7 + 1.9) digits, 2244; the limit lies 100 below max_token.
    free, tight = split(tmp_path, max_token=9999), split(tmp_path, max_token=2330)
    drawn = [free.sample(index) for index in range(60)]
    kept = [tight.sample(index) for index in range(60)]
    lengths = [tight.count(row["messages"][0]["content"]) for row, _ in kept]
    assert max(lengths) < 2230
    assert not any(again for _, again in drawn)
    for (row, _), (other, again) in zip(drawn, kept, strict=True):
        fits = free.count(row["messages"][0]["content"]) < 2230
        assert (again == 0) == fits == (row == other)
    assert any(again for _, again in kept)


def test_what_never_fits_is_refused_with_numbers(tmp_path: Path) -> None:
    message = r"3 dictionaries never took fewer than max_token - 100 = 20 tokens in 1000 draws; the last took \d+"
    with pytest.raises(BudgetError, match=message):
        split(tmp_path, num_dicts=3, max_token=120, frac_top5=0).sample(0)


def test_a_sample_depends_on_seed_split_and_index_alone(tmp_path: Path) -> None:
    rows = [split(tmp_path).sample(index) for index in range(5)]
    again = split(tmp_path)
    assert [again.sample(index) for index in reversed(range(5))] == rows[::-1]
    others = [split(tmp_path, "eval").sample(0), split(tmp_path, seed=1).sample(0)]
    texts = [row["messages"][0]["content"] for row, _ in rows + others]
    assert len(set(texts)) == 7


def test_files_are_named_and_written_as_the_script_does(tmp_path: Path, model_folder: Path) -> None:
    path = write_config(tmp_path, num_train=40, num_eval=20, num_dicts=5, frac_top5=0)
    manifest = generate(path, tmp_path / "out", seed=2, model=str(model_folder))
    assert json.loads((tmp_path / "out" / f"{ALIAS}_seed2.json").read_text()) == manifest
    assert manifest["rows"] == 60
    assert manifest["settings"]["model"]["tokenizer"] == tokenizer_fingerprint(load_tokenizer(str(model_folder)))
    names = [f"{ALIAS}_seed2_train_40.jsonl", f"{ALIAS}_seed2_eval_20.jsonl"]
    files = {each.name for each in (tmp_path / "out").iterdir()}
    assert files == {*names, f"{ALIAS}_seed2.json"}
    entries = manifest["files"]
    for name, size in zip(names, (40, 20), strict=True):
        written = (tmp_path / "out" / name).read_bytes()
        lines = written.decode().splitlines(keepends=True)
        assert len(lines) == entries[name]["rows"] == size
        # As json.dump writes it, so that the official lines come through unchanged too.
        assert all(json.dumps(json.loads(line)) + "\n" == line for line in lines)
        assert entries[name]["sha256"] == hashlib.sha256(written).hexdigest()


def test_official_lines_are_written_as_ours(tmp_path: Path) -> None:
    for name in ("template", "no_template"):
        for line in (Path(__file__).parent / f"{name}.jsonl").read_text().splitlines():
            assert json.dumps(json.loads(line)) == line


@pytest.fixture
def few(tmp_path: Path, model_folder: Path) -> Callable[..., dict[str, Any]]:
    """Write a few samples to one folder, with other values for some keys of the configuration."""

    def write(seed: int = 0, **changes: object) -> dict[str, Any]:
        size: dict[str, object] = {"num_train": 3, "num_eval": 2, "num_dicts": 4, "frac_top5": 0}
        return generate(write_config(tmp_path, **size | changes), tmp_path / "out", seed=seed, model=str(model_folder))

    return write


def test_seeds_share_a_folder_and_a_changed_configuration_does_not(tmp_path: Path, few: Callable[..., Any]) -> None:
    first = few()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert few(seed=1)["files"].keys().isdisjoint(first["files"])
    assert few() == first
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    with pytest.raises(DataError, match=r"official\.data_kwargs\.num_dicts is 4 there and 5 here"):
        few(num_dicts=5)


def test_a_file_that_is_missing_is_written_again_and_a_damaged_one_refused(
    tmp_path: Path, few: Callable[..., Any]
) -> None:
    few()
    path = tmp_path / "out" / f"{ALIAS}_seed0_train_3.jsonl"
    whole = path.read_bytes()
    path.unlink()
    few()
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-5])
    with pytest.raises(DataError, match=f"{path} is damaged"):
        few()
    (tmp_path / "out" / f"{ALIAS}_seed0.json").write_text("{")
    with pytest.raises(DataError, match="is not a JSON object"):
        few()


def test_files_without_a_manifest_are_completed_if_they_are_ours_and_else_not_touched(
    tmp_path: Path, few: Callable[..., Any]
) -> None:
    first = few()
    manifest, path = (tmp_path / "out" / f"{ALIAS}_seed0{end}" for end in (".json", "_eval_2.jsonl"))
    manifest.unlink()
    assert few() == first
    manifest.unlink()
    path.write_text("the script's own")
    with pytest.raises(DataError, match=f"{path} differs from what this command writes, and no manifest"):
        few()
    assert path.read_text() == "the script's own"
    manifest.write_text("{}")
    with pytest.raises(DataError, match="is not the manifest of a dataset"):
        few()


def test_all_samples_are_made_again_from_the_manifest(tmp_path: Path, few: Callable[..., Any]) -> None:
    manifest = few()
    again = samples(manifest["settings"])
    lines = [line for name in manifest["files"] for line in (tmp_path / "out" / name).open()]
    assert len(lines) == 5
    for index, line in enumerate(lines):
        (user, assistant), haystack = json.loads(line)["messages"], again[index]
        assert (user["content"], assistant["content"]) == (
            haystack.message(haystack.needles[0]),
            haystack.needles[0].answer,
        )
        assert len(again.encoded(index)) == 1


def test_the_24k_configuration_of_the_docs_nearly_fills_its_budget(tmp_path: Path) -> None:
    tokenizer = load_tokenizer("smollm2-135m")
    config = load(write_config(tmp_path, documented()[1]))
    row, _ = Split(config, "train", 0, lambda prompt: len(tokenizer(prompt)["input_ids"])).sample(0)
    assert len(dictionaries(row)) == 530
    assert 23_500 < len(tokenizer(row["messages"][0]["content"])["input_ids"]) < 24_476


def test_multi_subkey_samples_are_written_too(tmp_path: Path) -> None:
    config = load(write_config(tmp_path, MULTI))
    row, _ = Split(config, "train", 0, lambda text: 0).sample(0)
    prompt, answer = (message["content"] for message in row["messages"])
    assert len(re.findall(r"^Dictionary \[\d+\] \{\(", prompt, flags=re.MULTILINE)) == 49
    assert re.match(r"The key that contains the integers \d+, \d+, \d+ is \(\d+, \d+, \d+\)\.", answer)
