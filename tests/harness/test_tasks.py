from __future__ import annotations

import pytest

from needlework.benchmarks import Score, flenqa, grounding, knowledge, known_unknowns, kv, mdqa, niah, own, uuids
from needlework.harness.tasks import name_of, process_results, score_of
from needlework.haystack import Needle, to_json

NEEDLE = Needle("n", "n", "Who?", "Alba", ("Alba",), 0)


def test_an_output_is_scored_by_the_named_function() -> None:
    doc = {"needle": to_json(NEEDLE), "score": name_of(mdqa.score)}
    assert process_results(doc, ["It was Alba."]) == {"contained": True}
    assert process_results(doc, ["It was Bea."]) == {"contained": False}


SCORES = [
    *(each.score for each in (flenqa, grounding, knowledge, known_unknowns, kv, mdqa, niah, own, uuids)),
    *(flenqa.score_officially, kv.score_subkeys, niah.score_all),
]


@pytest.mark.parametrize("score", SCORES, ids=name_of)
def test_every_benchmarks_score_is_found_by_its_name(score: Score) -> None:
    assert score_of(name_of(score)) is score


@pytest.mark.parametrize("name", ["os.system", "needlework.benchmarks_evil.score", "needlework.benchmarks.kv.build"])
def test_nothing_else_is_found(name: str) -> None:
    with pytest.raises(ValueError, match="is not a scoring function of a benchmark"):
        score_of(name)
