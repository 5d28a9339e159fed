from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from needlework.dataset.synthetic import SyntheticDataset
from needlework.haystack import Haystack, Needle
from needlework.looking.show import GOLD, SUPERVISED, _supervised, gold_pairs, show, shown_items
from needlework.models.chat import Renderer
from needlework.tasks import make_task
from tests.conftest import INST, make_tokenizer


@pytest.fixture
def data(renderer: Renderer) -> SyntheticDataset:
    return SyntheticDataset(make_task("simple_dict"), 5, 2, 900, renderer, seed=4)


def page(data: SyntheticDataset, index: int, *, full: bool = False) -> str:
    console = Console(width=400, color_system=None, file=StringIO())
    console.print(show(data, index, full=full, plain=True))
    return console.file.getvalue()  # type: ignore[attr-defined]


def marked(items: list[str], answer: str, accepted: str, position: int) -> dict[int, list[str]]:
    """Return the text of the gold pairs, by item."""
    needle = Needle("0/0", "0/0", "?", answer, (accepted,), position)
    found = gold_pairs(Haystack("0", "task", "", tuple(items), (needle,)), needle)
    return {index: [items[index][start:end] for start, end in spans] for index, spans in found.items()}


@pytest.mark.parametrize(
    ("item", "answer", "accepted", "pair"),
    [
        ("Dictionary [1] {122: 765, 4548: 1475}", "The value of 4548 is 1475 in Dictionary [1].", "1475", "4548: 1475"),
        ("Dictionary [9] {(1, 2): 31, (3, 4): 313}", "Key (1, 2) has 31.", "31", "(1, 2): 31"),
        ("Dictionary [9] {31: 7, 5: 31}", "It is 31.", "31", "31"),
        ("Its bin is number 251; 2510 pieces.", "Bin 251.", "251", "251"),
        ("The captain is Taldalund.", "It is Taldalund.", "taldalund", "Taldalund"),
        ("Written (in C++) by 5.", "C++)", "C++)", "C++)"),
        ("Nothing of it.", "It is 7.", "7", "Nothing of it."),
    ],
)
def test_the_gold_pair_is_found(item: str, answer: str, accepted: str, pair: str) -> None:
    assert marked(["Dictionary [0] {122: 4548}", item], answer, accepted, 1)[1][0] == pair


def test_all_pairs_of_a_chain_are_found() -> None:
    items = ["{585: 173, 9: 6638}", "{129: 580}", "{4: 5, 173: 129}", "{129: 6638}"]
    answer = "The value of key 585 is 173, that of key 173 is 129, that of key 129 is 6638."
    assert marked(items, answer, "6638", 3) == {0: ["585: 173"], 2: ["173: 129"], 3: ["129: 6638"]}


def test_an_absent_key_has_no_pair() -> None:
    assert marked(["{3456: 585, 1: 3465}"], "Key 3465 does not occur.", "does not occur", -1) == {}


@pytest.mark.parametrize(
    ("positions", "shown"),
    [
        ([5], [0, 5, 6, 19]),
        ([], [0, 19]),
        ([0], [0, 1, 19]),
        ([19], [0, 19]),
        ([2], [0, 1, 2, 3, 19]),
        ([17, 5], [0, 5, 6, 17, 18, 19]),
    ],
)
def test_first_last_and_gold_items_with_a_neighbour_are_shown(positions: list[int], shown: list[int]) -> None:
    assert shown_items(positions, 20) == shown


def test_gold_pairs_and_supervised_text_are_between_marks(data: SyntheticDataset) -> None:
    haystack, text = data[1], page(data, 1)
    for number, needle in enumerate(haystack.needles, start=1):
        (line,) = [line for line in map(str.rstrip, text.splitlines()) if f"{number} ▸ Dictionary" in line]
        assert f": {needle.accepted[0]}»" in line
        assert line.replace("«", "").replace("»", "").endswith(haystack.items[needle.position])
        assert f"«{data.renderer.completion(haystack, needle)}»" in text


def test_what_is_left_out_is_counted(data: SyntheticDataset) -> None:
    lines = [line.strip() for line in page(data, 0).splitlines()]
    items = sum("Dictionary [" in line and "{" in line for line in lines)
    left_out = sum(int(line.split()[1]) for line in lines if line.startswith("…"))
    assert left_out > 0
    assert items + left_out == len(data[0].items)


def test_the_full_view_shows_every_item_and_question(data: SyntheticDataset) -> None:
    text, haystack = page(data, 0, full=True), data[0]
    flat = text.replace("«", "").replace("»", "")
    assert all(item in flat for item in haystack.items)
    assert all(line in flat for needle in haystack.needles for line in needle.question.splitlines())
    assert "…" not in text


def test_figures_are_those_of_the_sample(data: SyntheticDataset) -> None:
    text, tokens = page(data, 2), data.renderer.count(data[2])
    supervised = len(data.renderer.rows(data[2])[0][1])
    assert f"{tokens} of 900 in the longest row: fill {100 * tokens / 900:.1f} %" in text
    assert f"{supervised} tokens in the first row" in text


@pytest.mark.parametrize("digits", ["single", "threes", "merged"])
def test_each_supervised_token_has_its_shade(digits: str) -> None:
    renderer = Renderer(make_tokenizer(digits, INST))
    data = SyntheticDataset(make_task("simple_dict"), 1, 1, 900, renderer)
    console = Console(width=300, force_terminal=True, color_system="truecolor", no_color=False, file=StringIO())
    segments = list(console.render(show(data, 0)))
    shaded = [each.text for each in segments if str(each.style) in SUPERVISED]
    (_, completion) = renderer.rows(data[0])[0]
    assert shaded == [renderer.tokenizer.decode([id]) for id in completion]
    assert [each.text for each in segments if str(each.style) == GOLD]


def test_long_items_without_a_needle_are_shortened(renderer: Renderer) -> None:
    wide = make_task("simple_dict", {"keys_per_dict": [40], "key_digits": [3, 4]})
    data = SyntheticDataset(wide, 1, 1, 1500, renderer)
    lines = page(data, 0).splitlines()
    assert data[0].needles[0].position > 0
    assert any(line.strip().startswith("Dictionary [1]") and line.rstrip().endswith("…") for line in lines)


def test_a_needle_in_no_item_is_said_to_be_in_none(data: SyntheticDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    haystack = data[0]
    needles = tuple(replace(each, position=-1, answer="It does not occur.") for each in haystack.needles)
    monkeypatch.setattr(SyntheticDataset, "__getitem__", lambda self, index: replace(haystack, needles=needles))
    text = page(data, 0)
    assert "needles    2; gold item none, none" in text
    assert "▸ Dictionary" not in text


def test_no_line_stands_for_a_preamble_that_is_not_there(
    data: SyntheticDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    haystack = replace(data[0], preamble="")
    monkeypatch.setattr(SyntheticDataset, "__getitem__", lambda self, index: haystack)
    lines = [line.strip() for line in page(data, 0, full=True).splitlines()]
    assert haystack.items[0] in lines[lines.index("<|im_start|>user") + 1].replace("«", "").replace("»", "")


def test_a_character_of_several_tokens_is_shown_once(renderer: Renderer) -> None:
    ids = renderer.encode(["né 東 x"])[0]
    assert len(ids) > len("né 東 x")
    assert _supervised(renderer, ids, plain=False).plain == "né 東 x"
    assert _supervised(renderer, ids, plain=True).plain == "«né 東 x»"


def test_text_of_the_user_is_shown_as_it_is_and_commands_no_terminal(data: SyntheticDataset) -> None:
    needle = Needle("0/0", "0/0", "Which [/b]?", "An answer.", ("gold",), 1)
    haystack = Haystack("0", "own", "Read \x1b[2J", ("[bold]first[/x]", "The \x1b]0;gold\x07 item.", "last"), (needle,))

    class Own:
        renderer, max_tokens = data.renderer, 900

        def __getitem__(self, index: int) -> Haystack:
            return haystack

        def place(self, index: int) -> str:
            return "line 1"

    shown = page(Own(), 0)  # type: ignore[arg-type]
    assert "[bold]first[/x]" in shown
    assert "Which [/b]?" in shown
    assert "The ␛]0;«gold»␇ item." in shown
    assert "Read ␛[2J" in shown
