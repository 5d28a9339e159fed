from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from needlework.errors import DataError
from needlework.report.gate import exit_code, gate, load, unjudged
from needlework.report.statistics import row
from needlework.storage import write_json
from tests.report.conftest import SAME, benchmark, comparison


def judged(lost: int, gained: int, of: int = 2000) -> dict[str, Any]:
    """A benchmark of which so many needles were lost and gained."""
    rest = [1] * (of - lost - gained)
    return benchmark("Facts", row([1] * lost + [0] * gained + rest, [0] * lost + [1] * gained + rest, range(of)))


KEPT, HARMED, OPEN = judged(10, 12), judged(120, 10), judged(60, 20)


def test_each_benchmark_is_judged_by_name() -> None:
    findings = gate(comparison(knowledge=KEPT, mdqa=HARMED), ["mdqa", "knowledge"], 0.02)
    assert [each.judgement for each in findings] == ["harm", "no harm"]
    assert findings[0].text.startswith("mdqa: harm: the loss is more than 2 points (change \u22125.5 points, 95 %")


def test_by_default_those_are_judged_that_finetuning_should_keep() -> None:
    # Of known_unknowns there are never enough questions to tell.
    several = comparison(knowledge=KEPT, knowledge_exact=HARMED, mdqa=HARMED, known_unknowns=judged(0, 0, 46))
    findings = gate(several, [], 0.02)
    assert [each.text.split(":")[0] for each in findings] == ["knowledge"]


def test_a_sure_loss_of_unsure_size_is_said() -> None:
    (finding,) = gate(comparison(knowledge=OPEN), [], 0.02)
    assert finding.judgement == "too few"
    assert "That there is a loss is certain." in finding.text
    # What was lost is the margin itself.
    assert "No number of needles tells" in finding.text


def test_of_a_score_that_counts_a_fault_a_rise_is_harm() -> None:
    faults = {"known_unknowns.invented": judged(10, 120), "known_unknowns.withheld": judged(120, 10),
              "grounding.memory": judged(20, 60)}  # fmt: skip
    more, fewer, open_ = gate(comparison() | {"benchmarks": faults}, list(faults), 0.02)
    assert (more.judgement, fewer.judgement, open_.judgement) == ("harm", "no harm", "too few")
    assert more.text.startswith(
        "known_unknowns.invented: harm: the rise is more than 2 points (change +5.5 points, 95 %"
    )
    assert "That there is a rise is certain. No number of needles tells a rise of just the margin" in open_.text


def test_what_was_lost_is_said_beside_the_balance() -> None:
    kept, risen = gate(comparison(knowledge=KEPT, mmlu=judged(100, 300)), ["knowledge", "mmlu"], 0.02)
    assert "n = 2,000; 10 of 1,988 hits lost, 12 gained)" in kept.text
    assert "look at what was lost" not in kept.text
    assert risen.judgement == "no harm"
    assert "; 100 of 1,700 hits lost, 300 gained)" in risen.text
    assert "look at what was lost" in risen.text
    # What was trained for may rise.
    (trained,) = gate(comparison(mdqa=judged(100, 300)), ["mdqa"], 0.02)
    assert "look at what was lost" not in trained.text


def test_what_would_tell_is_counted() -> None:
    (finding,) = gate(comparison(knowledge=judged(3, 2, 200)), [], 0.02)
    assert finding.judgement == "too few"
    assert finding.text.endswith("would tell 80 % of the time; here are 200 in 200. Raise evaluate.knowledge.facts.")
    (finding,) = gate(comparison(mdqa=judged(3, 2, 200)), ["mdqa"], 0.02)
    assert finding.text.endswith("here are 200 in 200.")


def test_each_run_is_judged_and_named() -> None:
    several = comparison(knowledge=KEPT) | {"others": [{"after": "b", "benchmarks": {"knowledge": HARMED}}]}
    findings = gate(several, ["knowledge"], 0.02)
    assert [(each.text.split(":")[0], each.judgement) for each in findings] == [
        ("demo (finetuned), knowledge", "no harm"),
        ("b, knowledge", "harm"),
    ]


def test_harm_outweighs_doubt_and_doubt_its_absence() -> None:
    several = comparison(knowledge=KEPT, mdqa=HARMED, kv=OPEN)
    codes = [exit_code(gate(several, names, 0.02)) for names in (["knowledge"], ["knowledge", "kv"], ["kv", "mdqa"])]
    assert codes == [0, 3, 1]


def test_a_benchmark_that_was_not_compared_is_refused() -> None:
    with pytest.raises(DataError, match="'gsm8k' was not compared for demo"):
        gate(comparison(knowledge=KEPT), ["gsm8k"], 0.02)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "should be a JSON object"),
        ("{}", "lacks 'after'"),
        ('{"before": "a", "after": "b"}', "lacks 'benchmarks'"),
        (json.dumps(comparison(knowledge={"title": "a", "overall": SAME})), "lacks 'discordant'"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "comparison.json").write_text(text)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_a_written_comparison_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "comparison.json", comparison(knowledge=KEPT))
    assert load(tmp_path) == json.loads((tmp_path / "comparison.json").read_text())


def test_what_is_not_judged_is_named_and_a_certain_loss_of_it_is_said() -> None:
    several = comparison(knowledge=KEPT, knowledge_exact=HARMED, mdqa=KEPT, arc=HARMED)
    named, fell = unjudged(several, [])
    assert named == "Not judged: mdqa, arc. To judge one: --benchmark NAME."
    assert fell.startswith("  arc fell for certain: \u22125.5 points, \u2212")
    assert unjudged(several, ["mdqa", "arc"]) == ["Not judged: knowledge. To judge one: --benchmark NAME."]
    assert unjudged(comparison(knowledge=KEPT), []) == []
