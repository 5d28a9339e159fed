"""A small run whose every number is known, and a real browser to look at its report."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from needlework.haystack import Prediction, write
from needlework.report import page
from tests.chromium import Browser, find

Row = dict[str, float]


def row(before: float, after: float, low: float, high: float, p: float = 0.001, n: int = 200, clusters: int = 0) -> Row:
    """A row of comparison.json whose own intervals are five points either way."""
    return {
        "n": n, "clusters": clusters or n, "before": before, "after": after, "change": after - before,
        "before_low": max(0, before - 0.05), "before_high": min(1, before + 0.05),
        "after_low": max(0, after - 0.05), "after_high": min(1, after + 0.05),
        "low": low, "high": high, "p": p,
    }  # fmt: skip


def gain(before: float, after: float, n: int = 40) -> Row:
    return row(before, after, after - before - 0.06, after - before + 0.06, 0.001, n)


def comparison(**benchmarks: dict[str, Any]) -> dict[str, Any]:
    return {"before": "smollm2-135m", "after": "/runs/demo/train/model", "level": 0.95,
            "method": "Paired by needle and clustered by question: bootstrap intervals, exact test.",
            "benchmarks": {name.replace("_", "."): each for name, each in benchmarks.items()}}  # fmt: skip


def benchmark(title: str, overall: Row, **tables: Any) -> dict[str, Any]:
    return {"title": title, "overall": overall, "by_position": {}, "by_length": {}} | tables


def demo() -> dict[str, Any]:
    depths = ["0%", "25%", "50%", "75%", "100%"]
    found = [(0.05, 1.0), (0.025, 0.99), (0.0, 0.97), (0.02, 0.98), (0.08, 0.98)]
    kv = {depth: gain(*rates) for depth, rates in zip(depths, found, strict=True)}
    mdqa = {"1": gain(0.41, 0.47), "3": gain(0.28, 0.41), "5": gain(0.35, 0.43)}
    lengths = {length: gain(0.09 / scale, 1 - 0.01 * scale) for scale, length in
               enumerate(["512", "1024", "2048", "4096"], start=1)}  # fmt: skip
    both = {length: {depth: gain(0.09 / scale, 1 - 0.02 * scale * (i % 3)) for i, depth in enumerate(depths)}
            for scale, length in enumerate(lengths, start=1)}  # fmt: skip
    whole = {depth: gain(0.01, 0.9 + i / 50) for i, depth in enumerate(depths)}
    return comparison(
        kv=benchmark("Key-value retrieval", row(0.033, 0.984, 0.92, 0.98, 1e-9), by_position=kv,
                     by_length=lengths, by_length_and_position=both),
        kv_whole=benchmark("Key-value retrieval, value and dictionary", row(0.01, 0.9, 0.85, 0.94, 1e-9),
                           by_position=whole),
        mdqa=benchmark("Multi-document QA", row(0.346, 0.437, 0.040, 0.142, 0.0004, 594, 198),
                       by_position=mdqa),
        knowledge=benchmark("Knowledge, answer contained", row(0.412, 0.409, -0.014, 0.008, 0.71, 1000)),
        knowledge_exact=benchmark("Knowledge, exact answer", row(0.31, 0.302, -0.02, 0.004, 0.2, 1000)),
    )  # fmt: skip


def prediction(name: str, i: int, output: str, hit: bool, **changes: Any) -> Prediction:
    values: dict[str, Any] = {
        "id": f"{name}/{i:04}", "haystack": f"{name}/{i // 4}", "group": f"{name}/{i}",
        "question": "Above is a list of dictionaries such that each key and value is an integer. "
                    f"Report the value of key {7000 + i} and the dictionary it is in.",
        "accepted": (str(4000 + i),), "gold": f"Dictionary [{i}] {{{7000 + i}: {4000 + i}, 1234: 5678}}",
        "position": i % 5, "place": f"{25 * (i % 5)}%", "length": 1024, "prompt_tokens": 987,
        "output": output, "hit": hit, "extra": {"exact": hit, "whole": hit},
    }  # fmt: skip
    return Prediction(**(values | changes))


def predictions(name: str, hits: str) -> list[Prediction]:
    return [prediction(name, i, _say(i, hit == "1"), hit == "1") for i, hit in enumerate(hits)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run: of 12 needles each, kv gains 8, mdqa gains 2 and loses 1, knowledge 1 and 2."""
    folder = tmp_path / "demo"
    for part in ("before", "after", "train"):
        (folder / part).mkdir(parents=True)
    hits = {"kv": ("001000000001", "101111110111"), "mdqa": ("011000000000", "001110000000"),
            "knowledge": ("111100000000", "010110000000")}  # fmt: skip
    for name, sides in hits.items():
        for side, bits in zip(("before", "after"), sides, strict=True):
            write(predictions(name, bits), folder / side / f"predictions-{name}.jsonl")
    for side in ("before", "after"):
        benchmarks = {name: {"titles": {"value": name}, "n": 12, "seconds": 61.5} for name in hits}
        dump({"model": "smollm2-135m", "benchmarks": benchmarks}, folder / side / "summary.json")
    dump(demo(), folder / "comparison.json")
    steps = [{"step": i, "steps": 30, "loss": 4 * 0.87**i + 0.2 * (i % 3) / i,
              "answer_accuracy": 1 - 0.6 * 0.9**i, "learning_rate": 1e-4, "grad_norm": 3.2,
              "seconds": 8.1 * i, "answers": 32 * i, "tokens": 4100 * i} for i in range(1, 31)]  # fmt: skip
    (folder / "train/metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    dump({"seconds": 243, "answers": 960, "haystacks": 120, "tokens": 123000,
          "trainable_parameters": 26542080, "parameters": 134515008, "peak_memory_gib": 3.42,
          "precision": "float32"}, folder / "train/summary.json")  # fmt: skip
    dump({"python": "3.11.2", "platform": "Linux-6.1-x86_64", "needlework": "0.1.0", "torch": "2.9.0",
          "transformers": "5.0.0", "git": "1a2b3c4", "cpu": "2 cores", "seed": 0,
          "command": "needlework run demo --output runs/demo"}, folder / "environment.json")  # fmt: skip
    (folder / "recipe.yaml").write_text("model: smollm2-135m\ntrain:\n  haystacks: 120\n  max_tokens: 1024\n")
    return folder


def _say(i: int, hit: bool) -> str:
    if hit:
        return f"The value of key {7000 + i} is {4000 + i} and it is in Dictionary [{i}]."
    return f"The value of key {7000 + i} is {9000 - i}." if i % 2 else "I cannot find that key."


def dump(value: object, path: Path) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture(scope="session", autouse=True)
def one_bundle() -> Iterator[None]:
    """Bundle the chart library once: a report takes two seconds for it, and the tests write many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vl_convert, "javascript_bundle", functools.cache(vl_convert.javascript_bundle))
        yield


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if (program := find()) is None:
        pytest.fail("The report is tested in a real browser, and there is none: install it with "
                    "`apt-get install chromium` (Debian) or `snap install chromium` (Ubuntu).")  # fmt: skip
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


SAME = row(0.412, 0.409, -0.014, 0.008, 0.71, 1000)


def compared(**rows: dict[str, float]) -> dict[str, Any]:
    titles = {"kv": "Key-value retrieval", "mdqa": "Multi-document QA", "knowledge": "Knowledge"}
    return comparison(**{name: benchmark(titles[name], each) for name, each in rows.items()})


def page_of(run: Path) -> Path:
    """The report's page without its figures in files, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "save", lambda figure, folder: None)
        return page.write_report(run)


def several(run: Path) -> Path:
    """A comparison of three runs: that of `run`, and one that got less of mdqa and was not asked knowledge."""
    third = run / "third"
    third.mkdir()
    for name, hits in {"kv": "111111111111", "mdqa": "010000000000"}.items():
        write(predictions(name, hits), third / f"predictions-{name}.jsonl")
    asked = {"kv": {"titles": {"value": "kv"}, "n": 12, "seconds": 9}}
    dump({"model": "org/third", "benchmarks": asked}, third / "summary.json")
    numbers = demo() | {"folders": ["before", "after", "third"]}
    others = {name: numbers["benchmarks"][name] for name in ("kv", "mdqa")}
    others["mdqa"] = others["mdqa"] | {"overall": row(0.346, 0.1, -0.3, -0.2, 0.001, 594, 198)}
    dump(numbers | {"others": [{"after": "org/third", "benchmarks": others}]}, run / "comparison.json")
    return run


def averaged(run: Path) -> Path:
    """The same, with a mean as if the two were trainings of one recipe."""
    path = several(run) / "comparison.json"
    numbers = json.loads(path.read_text())
    kv = numbers["benchmarks"]["kv"] | {"overall": row(0.033, 0.97, 0.9, 0.95, 1e-5)}
    dump(numbers | {"mean": {"after": "mean of 2 trainings", "benchmarks": {"kv": kv}}}, path)
    return run


def value(before: float, after: float) -> Row:
    """A row of a numeric measure."""
    change = after - before
    return {"n": 40, "clusters": 8, "before": before, "after": after, "change": change, "low": change - 0.1,
            "high": change + 0.1, "p": 0.01}  # fmt: skip
