from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from needlework.haystack import Prediction
from needlework.report.page import inline_json, write_report
from tests.report.conftest import Browser, averaged, demo, dump, page_of, prediction, several, value


def test_inlined_json_cannot_leave_its_element() -> None:
    text = "</script><!--&\u2028\u2029\ud800"
    assert not set(inline_json(text)) & set("<>&\u2028\u2029\ud800")
    assert json.loads(inline_json(text)) == text


def test_the_page_reads_well_in_a_browser(run: Path, browser: Browser) -> None:
    page = page_of(run)
    for width in (1280, 390):
        for dark in (False, True):
            browser.open(page, width, dark=dark)
            assert browser.complaints() == []
            assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    headings = browser.run("[...document.querySelectorAll('h2')].map(each => each.textContent)")
    assert headings == ["All benchmarks", "Accuracy by position", "Length and depth", "Kept and lost",
                        "Training", "Answers that changed", "Browse the predictions", "Reproduce"]  # fmt: skip
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
    first = page_of(run).read_bytes()
    assert page_of(run).read_bytes() == first


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

    browser.open(page_of(run), 390)
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("document.querySelectorAll('script, main img, [onerror], [onload]').length") == 4
    said = browser.run("[...document.querySelectorAll('.said pre')].map(each => each.textContent)")
    assert HOSTILE[0] in said
    assert HOSTILE[1] in said
    assert HOSTILE[2] in said
    assert any(each.startswith("␀␇␛[31m[U+202E]gnp.exe\u2028[U+D800]") for each in said)
    assert max(map(len, said)) <= 600
    browser.run("""new Promise(done => { for (const each of document.querySelectorAll("#needles summary")) each.click();
      setTimeout(done, 200); })""")
    browsed = browser.run("""[...document.querySelectorAll('#needles > :not([data-benchmark=knowledge]) pre')]
      .map(each => each.textContent)""")
    assert len(browsed) == 2 * len(HOSTILE)
    assert browsed[:3] == [*HOSTILE[:1] * 2, HOSTILE[1]]
    assert browsed[6].startswith("␀␇␛[31m[U+202E]gnp.exe\u2028[U+D800]")
    assert browsed[8].endswith("… (2,000 of 100,000 characters)")
    assert browser.run("document.querySelectorAll('script, main img, main svg[onload], [onerror]').length") == 4
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert "Forged" not in browser.run("[...document.querySelectorAll('h2')].map(each => each.textContent)")


def as_json(record: Prediction) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Prediction.__slots__}


def test_the_policy_of_the_page_stops_a_script_that_gets_in_anyway(run: Path, browser: Browser) -> None:
    page = page_of(run)
    broken = page.with_name("broken.html")
    broken.write_text(page.read_text().replace("<header>", "<header><script>document.title = 'owned'</script>"))
    browser.open(broken, 1280)
    assert browser.run("document.title") != "owned"
    assert any("Content Security Policy" in each for each in browser.complaints())


def test_a_comparison_without_training_has_no_training_section(run: Path, browser: Browser) -> None:
    shutil.rmtree(run / "train")
    (run / "recipe.yaml").unlink()
    (run / "environment.json").unlink()
    browser.open(page_of(run), 1280)
    headings = browser.run("[...document.querySelectorAll('h2')].map(each => each.textContent)")
    assert "Training" not in headings
    assert browser.run("document.querySelector('h1').textContent") == "smollm2-135m against demo (finetuned)"


@pytest.mark.parametrize("kept", ["kv", "mdqa", "knowledge", "knowledge.exact"])
def test_any_benchmark_may_stand_alone(run: Path, browser: Browser, kept: str) -> None:
    numbers = demo()
    numbers["benchmarks"] = {kept: numbers["benchmarks"][kept]}
    dump(numbers, run / "comparison.json")
    browser.open(write_report(run), 390)
    assert browser.complaints() == []
    assert (run / "figures/overview.png").exists() == (kept in ("kv", "mdqa"))


def test_a_page_of_several_runs_compares_each_with_the_first(run: Path, browser: Browser) -> None:
    page = page_of(several(run))
    for width in (1280, 390):
        browser.open(page, width)
        assert browser.complaints() == []
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    said = browser.run("[...document.querySelectorAll('.verdict')].map(each => each.textContent)")
    assert [each.split(" raised ")[0] for each in said] == [
        "Going from smollm2-135m to demo (finetuned)",
        "Going from smollm2-135m to org/third",
    ]
    assert "but lowered multi-document QA" in said[1]
    rows = browser.run("[...document.querySelectorAll('section:first-of-type td:first-child')].map(e => e.textContent)")
    assert rows[:2] == ["Key-value retrievalkvdemo (finetuned)", "Key-value retrievalkvorg/third"]
    assert len(rows) == 7


def test_what_was_left_out_or_answered_in_another_way_is_said(run: Path, browser: Browser) -> None:
    for side, kept, gone in (("before", slice(1, None), slice(0, 1)), ("after", slice(0, 10), slice(10, None))):
        path = run / side / "predictions-kv.jsonl"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[kept]))
        skipped = [json.dumps({"id": json.loads(line)["id"], "reason": "needs 9 tokens"}) for line in lines[gone]]
        path.with_name("skipped-kv.jsonl").write_text("\n".join(skipped))
    numbers = demo()
    numbers["benchmarks"]["kv"]["skipped"] = {"before": 1, "after": 2}
    numbers["benchmarks"]["kv"]["unlike"] = {"backend": {"before": "hf", "after": "<vllm>"}}
    dump(numbers, run / "comparison.json")
    browser.open(page_of(run), 1280, fragment="benchmark=kv")
    said = browser.run("document.querySelector('section').textContent")
    assert "paired on 200 needles; left out as too long: 1 for smollm2-135m and 2 for demo (finetuned)." in said
    assert "the backend was hf and then <vllm>, which may be a part of the change." in said
    assert "Compared are the questions that both models answered." in said
    marks = browser.run("""[...document.querySelectorAll('#needles .marks')].map(each => each.textContent)""")
    assert (len(marks), marks[-1][0], marks[9][1]) == (12, "\u2013", "\u2013")
    assert browser.complaints() == []


def test_what_counts_as_a_hit_is_said(run: Path, browser: Browser) -> None:
    numbers = demo()
    numbers["benchmarks"]["kv"]["meaning"] = "the first <b>number</b> is right"
    dump(numbers, run / "comparison.json")
    browser.open(page_of(run), 1280)
    said = browser.run("document.querySelector('section').textContent")
    assert "What counts as a hit: Key-value retrieval, the first <b>number</b> is right." in " ".join(said.split())


def test_adjusted_p_is_shown_where_the_comparison_has_it(run: Path, browser: Browser) -> None:
    numbers = demo()
    for row in numbers["benchmarks"]["mdqa"]["by_position"].values():
        row["adjusted_p"] = 0.0321
    dump(numbers, run / "comparison.json")
    browser.open(page_of(run), 1280)
    tables = browser.run("""[...document.querySelectorAll('.numbers table')].map(each =>
      [...each.querySelectorAll('tr')].slice(0, 2).map(row => row.lastElementChild.textContent))""")
    assert tables == [["Exact p", "0.001"], ["Exact p", "0.001"], ["Holm p", "0.032"]]


def test_measures_have_a_section_with_their_numbers(run: Path, browser: Browser) -> None:
    heads = {f"L{layer}.H{head}": value(0.1, 0.2) for layer in range(4) for head in range(8)}
    measures = {"perplexity": {HOSTILE[1]: value(20.5, 21.25)}, "retrieval_heads": heads}
    dump(demo() | {"measures": measures}, run / "comparison.json")
    browser.open(page_of(run), 390)
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    cells = browser.run("[...document.querySelectorAll('#measures td')].map(each => each.textContent)")
    assert cells[:7] == [HOSTILE[1], "40", "8", "20.5", "21.2", "0.75" + "0.65 to 0.85", "0.01"]
    assert "the 20 that changed most, of 32" in browser.run("document.querySelector('#measures').textContent")


def test_of_several_trainings_the_mean_is_the_outcome(run: Path, browser: Browser) -> None:
    page = page_of(averaged(run))
    text = page.read_text(encoding="utf-8")
    assert "Finetuning on 120 haystacks (mean of 2 trainings) raised key-value retrieval from 3% to 97%." in text
    assert text.count('<p class="verdict">') == 1
    assert text.count('<div class="tile">') == 1
    assert "<small>mean of 2 trainings</small>" in text
    assert "Exact p" not in text
    browser.open(page, 1280)
    assert browser.complaints() == []
