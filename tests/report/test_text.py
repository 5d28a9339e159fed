from __future__ import annotations

import pytest

from needlework.report.text import (
    clip,
    direction,
    in_sentence,
    model_name,
    percent,
    points,
    verdict,
)
from tests.report.conftest import SAME, compared, demo, row


def test_the_verdict_on_a_good_run() -> None:
    assert verdict(demo(), 120) == (
        "Finetuning on 120 haystacks raised key-value retrieval from 3% to 98% and "
        "multi-document QA by 9.1 points (95% interval +4.0 to +14.2, p = 0.0004), with no measurable loss "
        "of knowledge (\u22120.3 points, \u22121.4 to +0.8)."
    )


def test_the_verdict_says_that_a_change_is_noise() -> None:
    said = verdict(compared(mdqa=row(0.35, 0.36, -0.03, 0.05, 0.6)), 1)
    assert said == (
        "Finetuning on 1 haystack left multi-document QA (+1.0 points, 95% interval "
        "\u22123.0 to +5.0, p = 0.6) within noise."
    )


def test_the_verdict_claims_no_gain_that_the_exact_test_does_not_see() -> None:
    assert "within noise" in verdict(compared(mdqa=row(0.3, 0.4, 0.01, 0.19, 0.06)))


def test_the_verdict_says_that_a_benchmark_got_worse() -> None:
    said = verdict(compared(kv=row(0.03, 0.98, 0.9, 0.97), knowledge=row(0.41, 0.35, -0.08, -0.04, 0.0002)), 120)
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
    assert said.startswith("Finetuning on 1,200 haystacks raised key-value retrieval from 3% to 98%, and")
    assert "left multi-document QA" in said
    assert said.count(". ") == 0


def test_the_verdict_without_training_names_both_models() -> None:
    assert verdict(compared(knowledge=SAME)).startswith(
        "Going from smollm2-135m to demo (finetuned) brought no measurable loss of knowledge"
    )


def test_more_of_a_fault_is_worse() -> None:
    risen, fallen = row(0.1, 0.3, 0.1, 0.3), row(0.3, 0.1, -0.3, -0.1)
    for name, ways in {
        "known_unknowns": (1, -1),
        "known_unknowns.invented": (-1, 1),
        "grounding.memory": (-1, 1),
    }.items():
        assert (direction(name, risen, 0.95), direction(name, fallen, 0.95)) == ways
    assert direction("grounding.memory", row(0.3, 0.1, -0.3, -0.1, p=0.06), 0.95) == 0


def test_a_rate_is_never_rounded_to_nothing_or_all() -> None:
    assert [percent(rate) for rate in (0, 0.002, 0.033, 0.996, 1)] == ["0%", "0.2%", "3%", "99.6%", "100%"]
    assert percent(0.3456, 1) == "34.6%"
    assert [percent(rate) for rate in (0.0004, 0.9996)] == ["< 0.1%", "> 99.9%"]
    assert [percent(rate, 1) for rate in (0, 0.0004, 0.9996, 1)] == ["0.0%", "< 0.1%", "> 99.9%", "100.0%"]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Closed-book facts", "closed-book facts"),
        ("QA over 5 documents", "QA over 5 documents"),
        ("TriviaQA", "TriviaQA"),
        ("HellaSwag", "HellaSwag"),
    ],
)
def test_names_keep_their_letters_inside_a_sentence(title: str, expected: str) -> None:
    assert in_sentence(title) == expected
    assert points(-0.0001) == "0.0"


def test_a_model_is_named_as_its_user_knows_it() -> None:
    assert model_name("Qwen/Qwen2-0.5B") == "Qwen/Qwen2-0.5B"
    assert model_name("/data/models/mistral") == "mistral"
    assert model_name("runs/a/train/model") == "a (finetuned)"
    assert model_name("train/model") == "the finetuned model"


def test_a_clipped_text_shows_what_was_asked_for() -> None:
    text = "a" * 500 + "needle" + "b" * 500
    assert clip(text, 20) == "a" * 19 + "…"
    assert clip(text, 40, ["NEEDLE"]).startswith("…a")
    assert "needle" in clip(text, 40, ["NEEDLE"])
    assert all(len(clip(text, 40, around)) <= 40 for around in (["a"], ["b"], ["needle"], ["absent"]))
