from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from needlework.errors import DataError
from needlework.haystack import Prediction, read, write
from needlework.report import write_report
from needlework.report.page import inline_json, load
from tests.report.conftest import SAME, Browser, compared, comparison, demo, dump, prediction


def test_inlined_json_cannot_leave_its_element() -> None:
    text = "</script><!--&\u2028\u2029\ud800"
    assert not set(inline_json(text)) & set("<>&\u2028\u2029\ud800")
    assert json.loads(inline_json(text)) == text


def test_the_page_reads_well_in_a_browser(run: Path, browser: Browser) -> None:
    page = write_report(run)
    for width in (1280, 390):
        for dark in (False, True):
            browser.open(page, width, dark=dark)
            assert browser.complaints() == []
            assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    headings = browser.run("[...document.querySelectorAll('h2')].map(each => each.textContent)")
    assert headings == ["All benchmarks", "Accuracy by position", "Length and depth", "Kept and lost",
                        "Training", "Answers that changed", "Reproduce"]  # fmt: skip
    assert "raised key-value retrieval" in browser.run("document.querySelector('.verdict').textContent")
    assert browser.run("[...document.querySelectorAll('.chart svg')].every(each => each.clientWidth > 200)")
    assert page.stat().st_size < 2_500_000


def test_every_figure_is_written_and_nothing_is_left_half_done(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    write_report(run)
    names = {path.name for path in (run / "figures").iterdir()}
    charts = {"overview", "positions-kv", "positions-kv.whole", "positions-mdqa", "map-kv", "kept-knowledge",
              "kept-knowledge.exact", "training"}  # fmt: skip
    assert names == {f"{chart}.{kind}" for chart in charts for kind in ("svg", "png")}
    assert not list(run.rglob("*.tmp"))
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_report_is_the_same_each_time(run: Path) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror="alert(1)">',
    "<svg onload=alert(1)></pre></article><h2>Forged</h2>{{ 7 * 7 }}",
    "\x00\x07\x1b[31m\u202egnp.exe\u2028\ud800",
    "long" * 25_000,
]


def test_a_hostile_output_stays_text(run: Path, browser: Browser) -> None:
    for side, hit in (("before", False), ("after", True)):
        hostile = [prediction("kv", i, text, hit, question=text, gold=text, accepted=(text,), place=text)
                   for i, text in enumerate(HOSTILE[:3])]  # fmt: skip
        hostile += [prediction("mdqa", i, text, hit) for i, text in enumerate(HOSTILE[3:])]
        for name in ("kv", "mdqa"):
            path = run / side / f"predictions-{name}.jsonl"
            lines = [json.dumps(as_json(each)) for each in hostile if each.id.startswith(name)]
            path.write_text("\n".join(lines))
    numbers = demo()
    numbers["benchmarks"]["kv"]["title"] = numbers["method"] = HOSTILE[0]
    dump(numbers, run / "comparison.json")
    (run / "recipe.yaml").write_text(HOSTILE[1])
    dump({"command": HOSTILE[2], HOSTILE[0]: HOSTILE[1]}, run / "environment.json")

    browser.open(write_report(run), 390)
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("document.querySelectorAll('script, main img, [onerror], [onload]').length") == 2
    said = browser.run("[...document.querySelectorAll('.said pre')].map(each => each.textContent)")
    assert HOSTILE[0] in said
    assert HOSTILE[1] in said
    assert HOSTILE[2] in said
    assert any(each.startswith("␀␇␛[31m[U+202E]gnp.exe\u2028[U+D800]") for each in said)
    assert max(map(len, said)) <= 600
    assert "Forged" not in browser.run("[...document.querySelectorAll('h2')].map(each => each.textContent)")


def as_json(record: Prediction) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Prediction.__slots__}


def test_the_policy_of_the_page_stops_a_script_that_gets_in_anyway(run: Path, browser: Browser) -> None:
    page = write_report(run)
    broken = page.with_name("broken.html")
    broken.write_text(page.read_text().replace("<header>", "<header><script>document.title = 'owned'</script>"))
    browser.open(broken, 1280)
    assert browser.run("document.title") != "owned"
    assert any("Content Security Policy" in each for each in browser.complaints())


def test_a_comparison_without_training_has_no_training_section(run: Path, browser: Browser) -> None:
    shutil.rmtree(run / "train")
    (run / "recipe.yaml").unlink()
    (run / "environment.json").unlink()
    browser.open(write_report(run), 1280)
    headings = browser.run("[...document.querySelectorAll('h2')].map(each => each.textContent)")
    assert "Training" not in headings
    assert browser.run("document.querySelector('h1').textContent") == "smollm2-135m against demo (finetuned)"
    assert not (run / "figures/training.svg").exists()


@pytest.mark.parametrize("kept", ["kv", "mdqa", "knowledge", "knowledge.exact"])
def test_any_benchmark_may_stand_alone(run: Path, browser: Browser, kept: str) -> None:
    numbers = demo()
    numbers["benchmarks"] = {kept: numbers["benchmarks"][kept]}
    dump(numbers, run / "comparison.json")
    browser.open(write_report(run), 390)
    assert browser.complaints() == []
    assert (run / "figures/overview.png").exists() == (kept in ("kv", "mdqa"))


def test_lengths_without_positions_get_a_chart_of_their_own(run: Path) -> None:
    numbers = demo()
    numbers["benchmarks"]["mdqa"] |= {
        "by_position": {},
        "by_length": numbers["benchmarks"]["kv"]["by_length"],
    }
    dump(numbers, run / "comparison.json")
    write_report(run)
    assert (run / "figures/lengths-mdqa.png").exists()


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("comparison.json", "needlework compare"),
        ("before/predictions-kv.jsonl", "needlework evaluate"),
        ("after/summary.json", "needlework evaluate"),
        ("train/metrics.jsonl", "needlework finetune"),
    ],
)
def test_a_missing_file_is_named_with_the_command_that_writes_it(run: Path, missing: str, command: str) -> None:
    (run / missing).unlink()
    path = run / missing
    with pytest.raises(DataError) as error:
        write_report(run)
    assert str(error.value) == f"{path.parent} has no {path.name}; run `{command}` first"
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("comparison.json", "{", "is not JSON"),
        ("comparison.json", "[]", "should hold a JSON object"),
        ("comparison.json", '{"before": "a"}', "lacks 'after'"),
        ("comparison.json", json.dumps(comparison()), "compares no benchmark"),
        (
            "comparison.json",
            json.dumps(compared(kv=SAME | {"p": float("nan")})),
            "p should be a finite number",
        ),
        ("comparison.json", json.dumps(compared(kv=SAME)).replace("{}", "[1]", 1), "should be JSON objects"),
        ("after/summary.json", '{"benchmarks": {"kv": {"n": 3}}}', "lacks 'seconds'"),
        ("train/metrics.jsonl", '{"step": 1}', "line 1 lacks 'loss'"),
        ("before/predictions-kv.jsonl", "{}", "line 1: Prediction lacks"),
    ],
)
def test_a_malformed_file_is_named_with_what_is_wrong(run: Path, name: str, content: str, said: str) -> None:
    (run / name).write_text(content)
    with pytest.raises(DataError) as error:
        load(run)
    assert str(run / name) in str(error.value)
    assert said in str(error.value)


def test_predictions_that_do_not_pair_are_refused(run: Path) -> None:
    path = run / "after/predictions-kv.jsonl"
    write(list(read(Prediction, path))[1:], path)
    with pytest.raises(DataError, match=r"not asked the same needles before and after \(such as 'kv/0000'\)"):
        load(run)
