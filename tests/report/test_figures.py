from __future__ import annotations

from pathlib import Path

from needlework.report import figures
from needlework.report.run import load
from tests.report.conftest import demo, dump, several, value


def test_a_run_has_the_figures_its_numbers_are_for(run: Path) -> None:
    loaded = load(run)
    assert [each.name for each in figures.position_figures(loaded)] == [
        "positions-kv",
        "positions-kv.whole",
        "positions-mdqa",
    ]
    assert [each.name for each in figures.other_figures(loaded)] == [
        "map-kv",
        "kept-knowledge",
        "kept-knowledge.exact",
        "training",
    ]
    assert figures.measures(loaded) == []


def test_a_score_that_counts_a_fault_is_neither_found_at_a_position_nor_kept(run: Path) -> None:
    numbers, expected = demo(), load(run)
    numbers["benchmarks"]["knowledge.invented"] = numbers["benchmarks"]["kv.whole"]
    dump(numbers, run / "comparison.json")
    for drawn in (figures.position_figures, figures.other_figures):
        assert [each.name for each in drawn(load(run))] == [each.name for each in drawn(expected)]


def test_lengths_without_positions_get_a_chart_of_their_own(run: Path) -> None:
    numbers = demo()
    by_length = numbers["benchmarks"]["kv"]["by_length"]
    numbers["benchmarks"]["mdqa"] |= {"by_position": {}, "by_length": by_length}
    dump(numbers, run / "comparison.json")
    loaded = load(run)
    assert "lengths-mdqa" in [each.name for each in figures.other_figures(loaded)]
    assert len(figures.numbers(loaded)["lengths-mdqa"]) == 4


def test_several_runs_get_a_chart_of_all_benchmarks_and_count_what_each_kept(run: Path) -> None:
    drawn = {each.name: each for each in figures.other_figures(load(several(run)))}
    assert "Multi-document QA: 35% smollm2-135m, 44% demo (finetuned), 10% org/third" in drawn["all"].description
    assert "org/third" not in drawn["kept-knowledge"].description


def test_the_numbers_behind_a_chart_name_the_run_where_there_are_several(run: Path) -> None:
    assert {each["run"] for each in figures.numbers(load(run))["positions-mdqa"]} == {""}
    rows = figures.numbers(load(several(run)))["positions-mdqa"]
    assert [(each["place"], each["run"]) for each in rows[2:4]] == [("5", "demo (finetuned)"), ("1", "org/third")]


def test_measures_have_tables_of_at_most_twenty_values(run: Path) -> None:
    heads = {f"L{layer}.H{head}": value(0.1, 0.2) for layer in range(4) for head in range(8)}
    dump(
        demo() | {"measures": {"retrieval_heads": heads, "perplexity": {"wiki": value(20, 21)}}},
        run / "comparison.json",
    )
    first, second = figures.measures(load(run))
    assert (first.figure.title, first.heads, second.heads) == ("Retrieval heads", True, False)
    ((label, left_out, rows),) = first.tables
    assert (label, left_out, len(rows)) == ("", 12, 20)


def test_the_shape_of_a_curve_is_a_sentence_where_it_is_known(run: Path) -> None:
    numbers = demo()
    dip = {"before": 0.1, "after": 0.0, "change": -0.1, "low": -0.2, "high": -0.05}
    open_ = {"before": 0.5, "after": 0.0, "change": -0.5, "low": -2.0, "high": 2.0}
    numbers["benchmarks"]["kv"] |= {"middle_dip": dip, "primacy": open_}
    numbers["benchmarks"]["mdqa"] |= {"primacy": open_}
    dump(numbers, run / "comparison.json")
    found = figures.shapes(load(run))
    (said,) = found["positions-kv"]
    assert said == (
        "Shape: the middle lies below the two ends (middle dip) by +10.0 points before, 0.0 after, "
        "change \u221210.0 (\u221220.0 to \u22125.0)"
    )
    assert found["positions-mdqa"] == []
