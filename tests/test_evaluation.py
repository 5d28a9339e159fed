from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from needlework.benchmark_settings import KV, MDQA, NIAH, Evaluate, FLenQA, Knowledge, Own
from needlework.benchmarks import Benchmark, Draw
from needlework.dataset import composer
from needlework.dataset.budget import Budget, PlainCounter
from needlework.errors import BudgetError, DataError, RecipeError, UserError
from needlework.evaluation import asked, build_benchmarks, fitting, run_benchmarks
from needlework.haystack import Haystack, Needle, Prediction, read
from needlework.inference.backend import Ask, Backend, FakeBackend
from needlework.inference.cache import AnswerCache
from needlework.models.chat import Renderer
from needlework.progress import Silent
from needlework.storage import locked
from needlework.tasks.draft import Arrangement, Asked, Draft

SETTINGS = {"model": {"name": "m"}, "seed": 0}
BENCHMARK = Benchmark(
    "toy",
    [Haystack("h", "t", "Read.", ("gold",), (Needle("n", "g", "q?", "a", ("a",), 0),))],
    lambda needle, output: {"exact": output == needle.answer},
    {"exact": "Toy"},
    max_new_tokens=4,
)


def prepare() -> tuple[Backend, list[Benchmark]]:
    return FakeBackend(lambda ask: "a"), [BENCHMARK]


def test_an_evaluation_is_written_with_what_counted_its_tokens(tmp_path: Path) -> None:
    run_benchmarks("m", "another", SETTINGS, prepare, tmp_path, Silent())
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["model"], summary["tokenizer"]) == ("m", "another")
    assert summary["benchmarks"]["toy"]["accuracy"] == 1
    assert [each.output for each in read(Prediction, tmp_path / "predictions-toy.jsonl")] == ["a"]
    assert (tmp_path / "done").exists()


def test_a_finished_evaluation_prepares_nothing(tmp_path: Path) -> None:
    summary = run_benchmarks("m", "m", SETTINGS, prepare, tmp_path, Silent())

    def never() -> tuple[Backend, list[Benchmark]]:
        raise AssertionError("prepared again")

    assert run_benchmarks("m", "m", SETTINGS, never, tmp_path, Silent()) == summary


def test_a_folder_takes_one_evaluation_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UserError, match="another process is at work"):
        run_benchmarks("m", "m", SETTINGS, prepare, tmp_path, Silent())
    assert list(tmp_path.iterdir()) == []


def test_other_settings_are_refused_before_anything_is_prepared(tmp_path: Path) -> None:
    run_benchmarks("m", "m", SETTINGS, prepare, tmp_path, Silent())
    with pytest.raises(RecipeError, match="holds another evaluation: seed is 0 there and 1 here"):
        run_benchmarks("m", "m", SETTINGS | {"seed": 1}, prepare, tmp_path, Silent())


def chosen(*names: str, facts: int = 3) -> dict[str, Any]:
    return SETTINGS | {"benchmarks": {name: {"facts": facts} for name in names}}


def made(asked: list[str], *names: str) -> Callable[[], tuple[Backend, list[Benchmark]]]:
    def reply(ask: Ask) -> str:
        asked.append(ask.needle.id)
        return "a"

    benchmarks = []
    for name in names:
        needle = Needle(name, name, f"{name}?", "a", ("a",), 0)
        haystacks = [Haystack(name, "t", "Read.", ("gold",), (needle,))]
        benchmarks.append(replace(BENCHMARK, name=name, haystacks=haystacks))
    return lambda: (FakeBackend(reply), benchmarks)


def test_a_benchmark_that_is_added_is_asked_alone(tmp_path: Path) -> None:
    run_benchmarks("m", "m", chosen("one"), made([], "one"), tmp_path, Silent())
    first = json.loads((tmp_path / "summary.json").read_text())["benchmarks"]["one"]
    asked: list[str] = []
    run_benchmarks("m", "m", chosen("one", "two"), made(asked, "one", "two"), tmp_path, Silent())
    assert asked == ["two"]
    summary = json.loads((tmp_path / "summary.json").read_text())["benchmarks"]
    assert list(summary) == ["one", "two"]
    assert summary["one"] == first
    assert json.loads((tmp_path / "settings.json").read_text()) == chosen("one", "two")
    # What is there already is not asked, together or alone.
    for names in (["one"], ["two"], ["one", "two"]):
        run_benchmarks("m", "m", chosen(*names), made(asked, "none"), tmp_path, Silent())
    assert asked == ["two"]


def test_a_benchmark_that_was_begun_otherwise_is_refused(tmp_path: Path) -> None:
    run_benchmarks("m", "m", chosen("one"), made([], "one"), tmp_path, Silent())
    with pytest.raises(RecipeError, match=r"benchmarks\.one\.facts is 3 there and 4 here"):
        run_benchmarks("m", "m", chosen("one", "two", facts=4), made([], "one", "two"), tmp_path, Silent())


def test_one_that_was_stopped_is_not_taken_for_finished_when_another_ends(tmp_path: Path) -> None:
    def stop() -> tuple[Backend, list[Benchmark]]:
        def reply(ask: Ask) -> str:
            raise KeyboardInterrupt

        return FakeBackend(reply), made([], "two")()[1]

    run_benchmarks("m", "m", chosen("one"), made([], "one"), tmp_path, Silent())
    with suppress(KeyboardInterrupt):
        run_benchmarks("m", "m", chosen("two"), stop, tmp_path, Silent())
    asked: list[str] = []
    run_benchmarks("m", "m", chosen("three"), made(asked, "three"), tmp_path, Silent())
    run_benchmarks("m", "m", chosen("two"), made(asked, "two"), tmp_path, Silent())
    assert asked == ["three", "two"]
    assert set(json.loads((tmp_path / "summary.json").read_text())["benchmarks"]) == {"one", "two", "three"}


def test_what_was_answered_before_a_kill_keeps_its_entry(tmp_path: Path) -> None:
    def killed() -> tuple[Backend, list[Benchmark]]:
        def reply(ask: Ask) -> str:
            if ask.needle.id == "two":
                raise KeyboardInterrupt
            return "a"

        return FakeBackend(reply), made([], "one", "two")()[1]

    def run(prepare: Callable[[], tuple[Backend, list[Benchmark]]], version: str) -> None:
        run_benchmarks(
            "m", "m", chosen("one", "two"), prepare, tmp_path, Silent(), answered_by=lambda: {"torch": version}
        )

    with suppress(KeyboardInterrupt):
        run(killed, "1")
    assert not (tmp_path / "summary.json").exists()
    run(made([], "one", "two"), "2")
    summary = json.loads((tmp_path / "summary.json").read_text())["benchmarks"]
    assert [summary[name]["answered_by"]["torch"] for name in ("one", "two")] == ["1", "2"]
    assert not list(tmp_path.glob("*.partial"))


def test_a_benchmark_whose_answers_were_deleted_is_asked_again(tmp_path: Path) -> None:
    run_benchmarks("m", "m", chosen("one", "two"), made([], "one", "two"), tmp_path, Silent())
    (tmp_path / "predictions-two.jsonl").unlink()
    asked: list[str] = []
    run_benchmarks("m", "m", chosen("one", "two"), made(asked, "one", "two"), tmp_path, Silent())
    assert asked == ["two"]


def test_what_another_command_finished_while_the_model_was_loaded_is_not_taken_for_this_models(tmp_path: Path) -> None:
    def other_first() -> tuple[Backend, list[Benchmark]]:
        run_benchmarks("m", "m", SETTINGS, prepare, tmp_path, Silent())
        return FakeBackend(lambda ask: "wrong"), [BENCHMARK]

    with pytest.raises(RecipeError, match=r"holds an evaluation of m, not of o"):
        run_benchmarks("o", "o", SETTINGS | {"model": {"name": "o"}}, other_first, tmp_path, Silent())
    assert json.loads((tmp_path / "settings.json").read_text())["model"] == {"name": "m"}


@pytest.mark.parametrize("name", ["settings", "summary"])
def test_a_damaged_file_of_the_folder_is_named(tmp_path: Path, name: str) -> None:
    run_benchmarks("m", "m", SETTINGS, prepare, tmp_path, Silent())
    (tmp_path / f"{name}.json").write_text('{"mod')
    with pytest.raises(DataError, match=rf"{name}\.json is damaged: .* delete that one"):
        run_benchmarks("m", "m", SETTINGS, prepare, tmp_path, Silent())


def test_the_summary_says_what_answered_and_how_many_were_kept(tmp_path: Path) -> None:
    def cache() -> AnswerCache:
        return AnswerCache(tmp_path / "answers", {"model": "m"}, lambda text: None)

    who = {"backend": "fake", "torch": "9"}
    for folder in ("first", "second"):
        run_benchmarks("m", "m", SETTINGS, prepare, tmp_path / folder, Silent(), answered_by=lambda: who, cache=cache)
    summary = json.loads((tmp_path / "second/summary.json").read_text())["benchmarks"]["toy"]
    assert summary["answered_by"] == who
    assert (summary["n"], summary["kept"], summary["skipped"], summary["prompt_tokens"]) == (1, 1, 0, 3)


def test_the_chosen_benchmarks_are_built(renderer: Renderer) -> None:
    kv, mdqa = KV(lengths=(500,), depths=(0, 1), haystacks=2), MDQA(documents=2, positions=(1, 2), paragraphs=1)
    built = build_benchmarks(Evaluate(kv=kv, mdqa=mdqa, knowledge=Knowledge(facts=3)), 0, renderer)
    assert {each.name: len(each.haystacks) for each in built} == {"kv": 2, "mdqa": 2, "knowledge": 3}
    longest = max(len(renderer.prompt_ids(each, needle)) for each in built[0].haystacks for needle in each.needles)
    assert 400 < longest <= 500


def test_what_tables_count_wrongly_is_counted_in_text(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = composer.Sized.count
    monkeypatch.setattr(composer.Sized, "count", lambda self, num_items: counted(self, num_items) - 100)
    monkeypatch.setattr(composer, "_same", lambda composed, plain: False)
    (kv,) = build_benchmarks(Evaluate(kv=KV(lengths=(500,), depths=(0, 1), haystacks=2)), 0, renderer)
    assert max(len(renderer.prompt_ids(each, needle)) for each in kv.haystacks for needle in each.needles) <= 500


def test_drafts_that_are_fitted_together_have_as_many_items_as_each_of_them_can(renderer: Renderer) -> None:
    def asking(question: str) -> Draw:
        def arrange(num_items: int) -> Arrangement:
            return Arrangement(num_items, (0,), (Asked((question,), ("a",), ("a",), 0),))

        return lambda capacity: Draft("toy", "Read.", [f"line {number}" for number in range(capacity)], arrange)

    draws, counter = [asking("why? " * words) for words in (5, 40, 20)], PlainCounter(renderer)
    alone = [Budget(900, counter).fit(draw, min_items=1, num_needles=1)[1] for draw in draws]
    drafts, together = fitting(counter, "lengths")(draws, 900, 1)
    assert together == min(alone) < alone[2] < alone[0]
    assert [draft.arrange(1).needles for draft in drafts] == [draw(1).arrange(1).needles for draw in draws]


def test_every_kind_of_retrieval_is_built(renderer: Renderer, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"items": ["Ann."], "needles": [{"question": "Who?", "answer": "Ann"}]}\n')
    chosen = Evaluate(
        kv=KV(task="uuid", lengths=(700,), depths=(0, 1), haystacks=2),
        mdqa=MDQA(lengths=(2500,), depths=(0, 1), paragraphs=1, controls=True),
        niah=NIAH(lengths=(500,), depths=(0, 1), haystacks=2),
        own=Own(file=str(tmp_path / "mine.jsonl")),
    )
    built = build_benchmarks(chosen, 0, renderer)
    counts = {"kv": 2, "niah": 4, "own": 1, "mdqa": 2, "mdqa_closed_book": 1, "mdqa_oracle": 1}
    assert {each.name: len(each.haystacks) for each in built} == counts


def test_settings_hold_the_checksum_of_a_file_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("one")
    first = asked(Evaluate(own=Own(file=str(path)), knowledge=Knowledge()))
    path.write_text("another")
    second = asked(Evaluate(own=Own(file=str(path)), knowledge=Knowledge()))
    assert first["own"]["sha256"] != second["own"]["sha256"]
    assert first["knowledge"] == {"facts": 500, "half": "eval"}


def test_settings_notice_another_text(tmp_path: Path) -> None:
    found = []
    for folder, text in (("one", "Ann is here."), ("same", "Ann is here."), ("other", "Ann is there.")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "essay.txt").write_text(text)
        chosen = asked(Evaluate(flenqa=FLenQA(source=str(tmp_path / folder)), knowledge=Knowledge()))
        found.append(chosen["flenqa"]["text"])
    assert found[0] == found[1] != found[2]


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none.jsonl: No such file"):
        asked(Evaluate(own=Own(file=str(tmp_path / "none.jsonl"))))


def test_flenqa_has_the_facts_and_as_much_padding_as_fits(renderer: Renderer) -> None:
    chosen = FLenQA(tasks=("PIR",), paddings=("same",), dispersions=("last",), lengths=(1000,), samples=2)
    (built,) = build_benchmarks(Evaluate(flenqa=chosen), 0, renderer)
    assert [850 < renderer.count(each) <= 1000 for each in built.haystacks] == [True, True]


def test_a_file_of_flenqa_has_a_checksum_and_an_id_of_the_hub_has_none(tmp_path: Path) -> None:
    (tmp_path / "FLenQA.jsonl").write_text("one")
    assert "sha256" in asked(Evaluate(flenqa=FLenQA(file=str(tmp_path / "FLenQA.jsonl"))))["flenqa"]
    assert "sha256" not in asked(Evaluate(flenqa=FLenQA(file="alonj/FLenQA")))["flenqa"]


def test_a_length_that_is_too_short_is_named_as_the_setting_it_is(renderer: Renderer) -> None:
    chosen = Evaluate(kv=KV(lengths=(60,), haystacks=1))
    with pytest.raises(BudgetError, match=r"^evaluate\.kv\.lengths=60, but .* Raise evaluate\.kv\.lengths to at least"):
        build_benchmarks(chosen, 0, renderer)
