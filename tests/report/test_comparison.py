from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from needlework.errors import DataError
from needlework.haystack import Prediction, read, write
from needlework.report.comparison import compare
from needlework.storage import write_json


def prediction(index: int, place: str, length: int | None, hit: bool, whole: bool) -> Prediction:
    return Prediction(
        f"{index}/{place}/{length}", f"{index}/{place}", str(index), "q", ("a",), "", 0, place, length, 10, "o",
        hit, {"whole": whole},
    )  # fmt: skip


def evaluation(folder: Path, hits: list[bool], name: str = "kv") -> Path:
    """Twelve questions at two places and two lengths; `hits` by question."""
    predictions = [
        prediction(index, place, length, hit, False)
        for index, hit in enumerate(hits)
        for place in ("100%", "0%", "50%")
        for length in (1024, 512)
    ]
    folder.mkdir()
    write(predictions, folder / f"predictions-{name}.jsonl")
    asked = {name: {"titles": {"value": "Value", "whole": "Value and dictionary"}, "seconds": 1.5}}
    write_json(folder / "summary.json", {"model": folder.name, "benchmarks": asked})
    return folder


def test_rows_overall_by_position_by_length_and_by_both(tmp_path: Path) -> None:
    before = evaluation(tmp_path / "b", [False] * 9 + [True] * 3)
    after = evaluation(tmp_path / "a", [True] * 12)
    comparison = compare(before, after)
    assert (comparison["before"], comparison["after"]) == ("b", "a")
    found = comparison["benchmarks"]["kv"]
    assert found["title"] == "Value"
    assert (found["overall"]["n"], found["overall"]["clusters"]) == (72, 12)
    assert (found["overall"]["before"], found["overall"]["after"]) == (0.25, 1.0)
    assert list(found["by_position"]) == ["0%", "50%", "100%"]
    assert list(found["by_length"]) == ["512", "1024"]
    assert found["by_length_and_position"]["512"]["50%"]["n"] == 12
    assert found["overall"]["p"] == pytest.approx(2 * 0.5**9)


def test_places_without_numbers_have_one_order_at_all_lengths(tmp_path: Path) -> None:
    places = {512: ("last", "random", "first"), 1024: ("first", "last", "random")}
    predictions = [
        prediction(index, place, length, True, True)
        for index in range(3)
        for length in (1024, 512)
        for place in places[length]
    ]
    for side in ("b", "a"):
        write(predictions, evaluation(tmp_path / side, [True]) / "predictions-kv.jsonl")
    found = compare(tmp_path / "b", tmp_path / "a")["benchmarks"]["kv"]
    order = ["first", "last", "random"]
    assert list(found["by_position"]) == order
    assert [list(rows) for rows in found["by_length_and_position"].values()] == [order, order]


def test_further_scores_are_rows_of_their_own(tmp_path: Path) -> None:
    comparison = compare(evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 12))
    assert list(comparison["benchmarks"]) == ["kv", "kv.whole"]
    assert comparison["benchmarks"]["kv.whole"]["overall"]["after"] == 0.0


def test_different_needles_are_refused(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 11)
    with pytest.raises(DataError, match="6 of 72 needles differ"):
        compare(before, after)


def test_what_was_too_long_for_one_model_is_left_out_and_counted(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 12)
    assert "skipped" not in compare(before, after)["benchmarks"]["kv"]
    for folder, line in ((before, 0), (after, 1), (after, 1)):
        skip(folder, line)
    found = compare(before, after)["benchmarks"]
    assert (found["kv"]["overall"]["n"], found["kv.whole"]["overall"]["n"]) == (69, 69)
    assert found["kv"]["skipped"] == {"before": 1, "after": 2}


def test_answers_of_two_number_formats_are_compared_and_told(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 12)
    for folder, dtype in ((before, "fp32"), (after, "bf16")):
        assert "unlike" not in compare(before, before)["benchmarks"]["kv"]
        summary = json.loads((folder / "summary.json").read_text())
        summary["benchmarks"]["kv"]["answered_by"] = {"backend": "hf", "dtype": dtype, "device": dtype}
        (folder / "summary.json").write_text(json.dumps(summary))
    assert compare(before, after)["benchmarks"]["kv"]["unlike"] == {"dtype": {"before": "fp32", "after": "bf16"}}


def test_answers_after_another_system_message_are_compared_and_told(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 12)
    write_json(before / "settings.json", {"model": {"system": None}, "benchmarks": {}})
    write_json(after / "settings.json", {"model": {"system": "Be brief."}, "benchmarks": {}})
    found = compare(before, after)["benchmarks"]["kv"]["unlike"]
    assert found == {"system message": {"before": "none", "after": "'Be brief.'"}}


def test_other_texts_around_the_same_questions_are_refused(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 12)
    for folder, prompt in ((before, "1f"), (after, "2e")):
        path = folder / "predictions-kv.jsonl"
        write([replace(each, prompt=prompt) for each in [*read(Prediction, path)]], path)
    with pytest.raises(DataError, match=r"kv was asked differently .* one recipe and one seed"):
        compare(before, after)
    # An earlier version wrote none.
    older = evaluation(tmp_path / "o", [True] * 12)
    assert compare(older, after)["benchmarks"]["kv"]["overall"]["n"] == 72


def test_questions_about_one_paragraph_are_one_cluster(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 12)
    for folder in (before, after):
        path = folder / "predictions-kv.jsonl"
        # Of two questions each.
        write([replace(each, cluster=f"p{int(each.group) // 2}") for each in [*read(Prediction, path)]], path)
    assert compare(before, after)["benchmarks"]["kv"]["overall"]["clusters"] == 6


def test_answers_that_were_cut_off_are_counted(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 12)
    assert "cut" not in compare(before, after)["benchmarks"]["kv"]
    for folder, cut in ((before, 36), (after, 0)):
        summary = json.loads((folder / "summary.json").read_text())
        summary["benchmarks"]["kv"] |= {"n": 72, "max_new_tokens": 32, "cut": cut}
        (folder / "summary.json").write_text(json.dumps(summary))
    found = compare(before, after)["benchmarks"]["kv"]
    assert (found["cut"], found["limit"]) == ({"before": 0.5, "after": 0.0}, 32)


def skip(folder: Path, line: int) -> None:
    """Turn the prediction on a line into a prompt that was too long."""
    path = folder / "predictions-kv.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    with (folder / "skipped-kv.jsonl").open("a") as file:
        file.write(json.dumps({"id": json.loads(lines.pop(line))["id"], "reason": "needs 9 tokens"}) + "\n")
    path.write_text("".join(lines))


def test_no_common_benchmark_is_refused(tmp_path: Path) -> None:
    before = evaluation(tmp_path / "b", [True], "kv")
    after = evaluation(tmp_path / "a", [True], "mdqa")
    with pytest.raises(DataError, match="no benchmark in common"):
        compare(before, after)


def test_a_folder_without_evaluation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(DataError, match="holds no finished evaluation"):
            compare(folder, folder)
    evaluation(tmp_path / "after", [True])
    with pytest.raises(DataError, match="Those of a run are in its folders before and after"):
        compare(tmp_path, tmp_path)


def test_a_truncated_predictions_file_names_the_line(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 12)
    path = after / "predictions-kv.jsonl"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(DataError, match=r"predictions-kv\.jsonl, line 72"):
        compare(before, after)


def test_the_p_of_positions_are_adjusted_for_their_number(tmp_path: Path) -> None:
    before = evaluation(tmp_path / "b", [False] * 9 + [True] * 3)
    after = evaluation(tmp_path / "a", [True] * 12)
    found = compare(before, after)["benchmarks"]["kv"]
    assert [row["p"] for row in found["by_position"].values()] == pytest.approx([2 * 0.5**9] * 3)
    assert [row["adjusted_p"] for row in found["by_position"].values()] == pytest.approx([3 * 2 * 0.5**9] * 3)
    assert found["by_length"]["512"]["adjusted_p"] == pytest.approx(2 * 2 * 0.5**9)
    assert found["by_length_and_position"]["512"]["0%"]["adjusted_p"] == pytest.approx(6 * 2 * 0.5**9)
    assert "adjusted_p" not in found["overall"]


def swept(folder: Path, places: dict[str, float], questions: int = 20) -> Path:
    """Questions each asked at several places, and which share of them hits there."""
    predictions = [
        prediction(index, place, None, index < share * questions, False)
        for index in range(questions)
        for place, share in places.items()
    ]
    folder.mkdir()
    write(predictions, folder / "predictions-mdqa.jsonl")
    asked = {"mdqa": {"titles": {"value": "QA"}, "seconds": 1.5}}
    write_json(folder / "summary.json", {"model": folder.name, "benchmarks": asked})
    return folder


def test_the_middle_dip_is_the_mean_of_the_ends_minus_that_of_the_middle(tmp_path: Path) -> None:
    before = swept(tmp_path / "b", {"10": 0.8, "1": 0.9, "3": 0.5, "5": 0.4})
    after = swept(tmp_path / "a", {"10": 0.9, "1": 0.9, "3": 0.8, "5": 0.7})
    found = compare(before, after)["benchmarks"]["mdqa"]
    dip, primacy = found["middle_dip"], found["primacy"]
    assert (dip["before"], dip["after"], dip["change"]) == pytest.approx((0.4, 0.15, -0.25))
    assert (primacy["before"], primacy["after"], primacy["change"]) == pytest.approx((0.1, 0.0, -0.1))
    assert dip["before_low"] < 0.4 < dip["before_high"]
    assert dip["low"] < -0.25 < dip["high"] < 0


def test_a_change_of_shape_may_be_as_large_as_two(tmp_path: Path) -> None:
    before, after = swept(tmp_path / "b", {"1": 1.0, "9": 0.0}), swept(tmp_path / "a", {"1": 0.0, "9": 1.0})
    primacy = compare(before, after)["benchmarks"]["mdqa"]["primacy"]
    assert (primacy["before"], primacy["after"], primacy["change"], primacy["low"]) == (1, -1, -2, -2)
    assert primacy["low"] <= primacy["change"] <= primacy["high"]


def test_two_places_have_no_middle_and_names_no_order(tmp_path: Path) -> None:
    places = {"1": 0.9, "5": 0.4}
    two = compare(swept(tmp_path / "b2", places), swept(tmp_path / "a2", places))["benchmarks"]["mdqa"]
    assert "primacy" in two
    assert "middle_dip" not in two
    places = {"random": 0.9, "first": 0.4, "last": 0.4}
    named = compare(swept(tmp_path / "b3", places), swept(tmp_path / "a3", places))["benchmarks"]["mdqa"]
    assert list(named["by_position"]) == ["random", "first", "last"]
    assert "primacy" not in named


def test_more_runs_are_each_compared_with_the_first(tmp_path: Path) -> None:
    base, first, second = (
        evaluation(tmp_path / name, [True] * hits + [False] * (12 - hits))
        for name, hits in (("base", 3), ("a", 9), ("b", 6))
    )
    comparison = compare(base, first, second)
    assert comparison["benchmarks"] == compare(base, first)["benchmarks"]
    (other,) = comparison["others"]
    assert other["after"] == "b"
    assert other["benchmarks"] == compare(str(base), str(second))["benchmarks"]
    assert "others" not in compare(base, first)


def test_benchmarks_of_one_run_alone_are_named(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 12)
    summary = json.loads((after / "summary.json").read_text())
    summary["benchmarks"]["flenqa"] = {"titles": {"value": "FLenQA"}, "seconds": 1.5}
    write_json(after / "summary.json", summary)
    assert compare(before, after)["not_shared"] == {"before": [], "after": ["flenqa"]}
    assert compare(after, before)["not_shared"] == {"before": ["flenqa"], "after": []}


def test_a_summary_of_another_form_is_refused(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 12)
    kv = {"titles": {"value": "KV"}, "seconds": 1.5}
    for value, said in (
        ([], r"summary\.json should be a JSON object"),
        ({"model": "m"}, "lacks 'benchmarks'"),
        ({"model": 7, "benchmarks": {}}, "model should be a valid string"),
        ({"model": "m", "benchmarks": {"kv": kv | {"titles": 1}}}, "kv, titles should be a JSON object"),
        ({"model": "m", "benchmarks": {"kv": kv | {"answered_by": 5}}}, "kv, answered_by should be a JSON object"),
        ({"model": "m", "benchmarks": {"kv": kv | {"cut": 5}}}, "kv: cut without n or max_new_tokens"),
    ):
        write_json(after / "summary.json", value)
        with pytest.raises(DataError, match=said):
            compare(before, after)
    (after / "summary.json").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"cannot read .*summary\.json"):
        compare(before, after)


def test_a_score_that_one_side_lacks_is_named(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 12)
    path = after / "predictions-kv.jsonl"
    path.write_text(path.read_text().replace('"whole"', '"other"'))
    with pytest.raises(DataError, match="lacks the score 'whole'"):
        compare(before, after)


def test_a_file_that_has_lost_answers_is_named(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "b", [True] * 12), evaluation(tmp_path / "a", [True] * 12)
    summary = json.loads((after / "summary.json").read_text())
    summary["benchmarks"]["kv"]["n"] = 72
    write_json(after / "summary.json", summary)
    assert compare(before, after)
    (after / "predictions-kv.jsonl").write_text("")
    with pytest.raises(DataError, match=r"predictions-kv\.jsonl has 0 answers, but summary\.json counts 72"):
        compare(before, after)
