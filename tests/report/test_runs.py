from __future__ import annotations

import csv
import io
from typing import Any

from rich.console import Console

from needlework.report.runs import cut_off, left_out, markdown, rows_csv, runs_of, tables, unlike
from tests.report.conftest import benchmark, comparison, row

KV = benchmark("Value", row(0.1, 0.6, 0.4, 0.6), by_position={"0%": row(0.1, 0.5, 0.3, 0.5) | {"adjusted_p": 0.002}},
               by_length_and_position={})  # fmt: skip
FACTS = benchmark("Facts", row(0.4, 0.39, -0.02, 0.01), by_length_and_position={})
SEVERAL = comparison(kv=KV, knowledge=FACTS) | {"others": [{"after": "one|two", "benchmarks": {"kv": KV}}]}


def text(width: int, shown: dict[str, Any] = SEVERAL) -> list[str]:
    output = io.StringIO()
    console = Console(width=width, file=output)
    for table in tables(shown, width):
        console.print(table)
    return [" ".join(line.split()) for line in output.getvalue().splitlines() if line.strip()]


def test_runs_are_rows_and_benchmarks_columns() -> None:
    lines = text(100)
    assert lines[0] == "run kv, n = 200 knowledge, n = 200"
    assert lines[2] == "smollm2-135m 10.0% (5.0 to 15.0) 40.0% (35.0 to 45.0)"
    assert lines[3] == "demo (finetuned) 60.0% (55.0 to 65.0) 39.0% (34.0 to 44.0)"
    assert lines[4] == "+50.0 (+40.0 to +60.0) \u22121.0 (\u22122.0 to +1.0)"
    assert lines[5] == "one|two 60.0% (55.0 to 65.0) \u2014"


def test_what_does_not_fit_becomes_a_table_of_its_own() -> None:
    assert [line for line in text(50) if line.startswith("run")] == ["run kv, n = 200", "run knowledge, n = 200"]


def test_markdown_has_all_benchmarks_in_one_table() -> None:
    lines = markdown(SEVERAL).splitlines()
    assert lines[0] == "| run | kv, n = 200 | knowledge, n = 200 |"
    assert lines[2] == "| smollm2-135m | 10.0% (5.0 to 15.0) | 40.0% (35.0 to 45.0) |"
    assert lines[4] == "| one\\|two | 60.0% (55.0 to 65.0)<br>+50.0 (+40.0 to +60.0) | \u2014 |"
    assert lines[-1].startswith("Rates in %, changes from the first run in points, with 95 % intervals.")


def test_the_csv_has_each_row_of_each_run_once() -> None:
    rows = list(csv.DictReader(io.StringIO(rows_csv(SEVERAL))))
    first = [(each["benchmark"], each["position"], each["rate"]) for each in rows if each["run"] == "smollm2-135m"]
    assert first == [("kv", "", "0.1"), ("kv", "0%", "0.1"), ("knowledge", "", "0.4")]
    assert [each["adjusted_p"] for each in rows if each["run"] == "one|two"] == ["", "0.002"]


FEWER = benchmark(
    "Value", row(0.2, 0.3, 0.05, 0.15, n=50), by_length_and_position={}, skipped={"before": 4, "after": 150}
)
UNEVEN = comparison(kv=FEWER) | {"others": [{"after": "long [b]", "benchmarks": {"kv": KV}}]}


def test_a_run_that_is_compared_on_fewer_needles_says_from_what() -> None:
    lines = text(100, UNEVEN)
    assert lines[0] == "run kv, n = 200"
    assert lines[2] == "smollm2-135m 10.0% (5.0 to 15.0)"
    assert lines[3:6] == ["demo (finetuned) 30.0% (25.0 to 35.0)", "+10.0 (+5.0 to +15.0)", "from 20.0%, n = 50"]
    assert lines[6:] == ["long [b] 60.0% (55.0 to 65.0)", "+50.0 (+40.0 to +60.0)"]
    assert "<br>from 20.0%, n = 50 |" in markdown(UNEVEN)


def test_what_was_answered_in_another_way_is_told() -> None:
    kv = {**KV, "unlike": {"dtype": {"before": "fp32", "after": "bf16"}}}
    said = "kv, demo (finetuned): the dtype was fp32 and then bf16, which may be a part of the change."
    assert unlike(comparison(kv=kv)) == [said]
    assert said in markdown(comparison(kv=kv))
    assert unlike(SEVERAL) == []


def test_it_is_said_where_many_answers_were_cut_off() -> None:
    kv = {**KV, "cut": {"before": 0.42, "after": 0.0}, "limit": 32}
    (said,) = cut_off(comparison(kv=kv))
    assert (
        "demo (finetuned): answers that were cut off at the limit of tokens, before and after: kv 42 % and 0 %" in said
    )
    assert cut_off(comparison(kv=kv | {"cut": {"before": 0.05, "after": 0.0}})) == []
    assert said in markdown(comparison(kv=kv))


def test_what_was_left_out_as_too_long_is_counted() -> None:
    counts = "4 for smollm2-135m and 150 for demo (finetuned)"
    said = f"kv, demo (finetuned): paired on 50 needles; left out as too long: {counts}."
    assert left_out(UNEVEN) == [said]
    assert markdown(UNEVEN).endswith(f"{said}\n")
    assert left_out(SEVERAL) == []


def test_the_csv_has_a_row_of_the_first_run_for_each_set_of_needles() -> None:
    rows = [each for each in csv.DictReader(io.StringIO(rows_csv(UNEVEN))) if not each["position"]]
    assert [(each["run"], each["n"], each["rate"]) for each in rows] == [
        ("smollm2-135m", "50", "0.2"),
        ("demo (finetuned)", "50", "0.3"),
        ("smollm2-135m", "200", "0.1"),
        ("long [b]", "200", "0.6"),
    ]


def test_two_runs_of_one_model_are_numbered() -> None:
    twice = comparison(kv=KV) | {"others": [{"after": "/runs/demo/train/model", "benchmarks": {}}]}
    assert [name for name, _ in runs_of(twice)] == ["demo (finetuned) #1", "demo (finetuned) #2"]
