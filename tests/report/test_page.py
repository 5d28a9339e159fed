from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.report.conftest import Browser, benchmark, comparison, demo, dump, prediction, row

from needlework.errors import DataError
from needlework.haystack import Prediction, read, write
from needlework.report import verdict, write_report
from needlework.report.page import inline_json, load
from needlework.report.text import Pair, clip, examples, fates, model_name, percent, points, visible

SAME = row(0.412, 0.409, -0.014, 0.008, 0.71)


def compared(**rows: dict[str, float]) -> dict[str, Any]:
    titles = {"kv": "Key-value retrieval", "mdqa": "Multi-document QA", "knowledge": "Knowledge"}
    return comparison(**{name: benchmark(titles[name], each) for name, each in rows.items()})


def test_the_verdict_on_a_good_run() -> None:
    assert verdict(demo(), 120) == (
        "Finetuning on 120 synthetic haystacks raised key-value retrieval from 3% to 98% and "
        "multi-document QA by 9.1 points (95% interval +4.0 to +14.2, p = 0.0004), with no measurable loss "
        "of knowledge (\u22120.3 points, \u22121.4 to +0.8)."
    )


def test_the_verdict_says_that_a_change_is_noise() -> None:
    said = verdict(compared(mdqa=row(0.35, 0.36, -0.03, 0.05, 0.6)), 1)
    assert said == (
        "Finetuning on 1 synthetic haystack left multi-document QA (+1.0 points, 95% interval "
        "\u22123.0 to +5.0, p = 0.6) within noise."
    )


def test_the_verdict_claims_no_gain_that_the_exact_test_does_not_see() -> None:
    assert "within noise" in verdict(compared(mdqa=row(0.3, 0.4, 0.01, 0.19, 0.06)))


def test_the_verdict_says_that_a_benchmark_got_worse() -> None:
    said = verdict(
        compared(kv=row(0.03, 0.98, 0.9, 0.97), knowledge=row(0.41, 0.35, -0.08, -0.04, 0.0002)), 120
    )
    assert "raised key-value retrieval from 3% to 98%, but lowered knowledge by 6.0 points" in said
    assert "no measurable loss" not in said


def test_the_verdict_promises_nothing_that_the_interval_does_not() -> None:
    said = verdict(compared(knowledge=row(0.41, 0.40, -0.035, 0.015, 0.5)), 120)
    assert "too few questions to rule out a loss of 2 points of knowledge" in said
    assert "no measurable loss" not in said


def test_the_verdict_on_a_mixed_run_is_one_sentence() -> None:
    mixed = compared(kv=row(0.03, 0.98, 0.9, 0.97), mdqa=row(0.35, 0.36, -0.03, 0.05, 0.6),
                     knowledge=row(0.41, 0.40, -0.035, 0.015, 0.5))  # fmt: skip
    said = verdict(mixed, 1200)
    assert said.startswith(
        "Finetuning on 1,200 synthetic haystacks raised key-value retrieval from 3% to 98%, and"
    )
    assert "left multi-document QA" in said
    assert said.count(". ") == 0


def test_the_verdict_without_training_names_both_models() -> None:
    assert verdict(compared(knowledge=SAME)).startswith(
        "Going from smollm2-135m to demo (finetuned) brought no measurable loss of knowledge"
    )


def test_a_rate_is_never_rounded_to_nothing_or_all() -> None:
    assert [percent(rate) for rate in (0, 0.002, 0.033, 0.996, 1)] == ["0%", "0.2%", "3%", "99.6%", "100%"]
    assert percent(0.3456, 1) == "34.6%"
    assert points(-0.0001) == "0.0"


def test_a_model_is_named_as_its_user_knows_it() -> None:
    assert model_name("Qwen/Qwen2-0.5B") == "Qwen/Qwen2-0.5B"
    assert model_name("/data/models/mistral") == "mistral"
    assert model_name("runs/a/train/model") == "a (finetuned)"
    assert model_name("train/model") == "the finetuned model"


def pairs(before: str, after: str) -> list[Pair]:
    return [Pair(prediction("kv", i, "", b == "1", extra={"exact": a == "1"}),
                 prediction("kv", i, "", a == "1", extra={}))
            for i, (b, a) in enumerate(zip(before, after, strict=True))]  # fmt: skip


def test_examples_are_spread_evenly_over_what_changed() -> None:
    chosen = examples(pairs("0" * 9 + "111", "1" * 9 + "110"), found=True)
    assert [pair.before.id for pair in chosen] == ["kv/0001", "kv/0004", "kv/0007"]
    assert [pair.before.id for pair in examples(pairs("0111", "0110"), found=False)] == ["kv/0003"]
    assert examples(pairs("01", "01"), found=True) == []


def test_fates_count_what_became_of_each_question() -> None:
    assert list(fates(pairs("111000", "110001"), "").values()) == [2, 1, 1, 2]


def test_a_clipped_text_shows_what_was_asked_for() -> None:
    text = "a" * 500 + "needle" + "b" * 500
    assert clip(text, 20) == "a" * 19 + "…"
    assert clip(text, 40, ["NEEDLE"]).startswith("…a")
    assert "needle" in clip(text, 40, ["NEEDLE"])
    assert all(len(clip(text, 40, around)) <= 40 for around in (["a"], ["b"], ["needle"], ["absent"]))


def test_control_characters_become_visible() -> None:
    assert visible("a\x00b\x1b[31m\x7f\u202e\ud800\x85\n\t") == "a␀b␛[31m␡[U+202E][U+D800][U+0085]\n\t"
    assert visible("naïve 漢字 👩\u200d🚀") == "naïve 漢字 👩\u200d🚀"


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
    broken.write_text(
        page.read_text().replace("<header>", "<header><script>document.title = 'owned'</script>")
    )
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
def test_a_missing_file_is_named_with_the_command_that_writes_it(
    run: Path, missing: str, command: str
) -> None:
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
