from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pytest

from needlework.errors import UserError
from needlework.haystack import Haystack
from needlework.tasks.draft import Draft
from needlework.tasks.invented import MIDDLES, STARTS, VALUES, Draws, pick
from needlework.tasks.record_kinds import kinds
from needlework.tasks.records import QUESTION, Records

WORD, NUMBER, DATE = "[A-Z][a-z]+", r"\d{3,4}", r"\d\d [A-Z][a-z]+"
PATTERNS = {
    "first": WORD, "last": WORD, "role": "an? [a-z]+", "workplace": "the [A-Z][a-z]+ [a-z ]+", "badge": NUMBER,
    "phone": NUMBER, "locker": NUMBER, "home": WORD, "line": WORD, "code": r"[A-Z]-\d\d", "component": "an? [a-z]+",
    "maker": f"{WORD} {WORD}", "warehouse": f"the {WORD} warehouse", "weight": NUMBER, "price": NUMBER,
    "stock": NUMBER, "bin": NUMBER, "customer": f"{WORD} (?:& )?{WORD}", "goods": "[a-z]+ [a-z]+",
    "depot": f"the {WORD} depot", "agent": WORD, "quantity": NUMBER, "total": NUMBER, "date": DATE, "entry": NUMBER,
    "vessel": WORD, "port": WORD, "cargo": "[a-z]+ [a-z]+", "origin": WORD, "tonnes": NUMBER, "berth": NUMBER,
    "day": DATE, "master": WORD, "she": "s?he", "her": "her|his", "him": "her|him", "hers": "hers|his",
}  # fmt: skip


@dataclass(frozen=True)
class Parsed:
    """What a reader who knows all forms takes from a text."""

    kind: str
    identity: tuple[str, ...]
    values: dict[str, str]


@cache
def pattern(form: str) -> re.Pattern[str]:
    """Return what a form looks like with values in it. Sentences begin with capitals, so case is ignored."""
    seen: set[str] = set()
    regex = ""
    for text, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", form):
        regex += re.escape(text)
        if name:
            regex += f"(?P={name})" if name in seen else f"(?P<{name}>{PATTERNS[name]})"
            seen.add(name)
    return re.compile(regex, re.IGNORECASE)


def matches(form: str, text: str) -> dict[str, str] | None:
    """Match a form to the whole of a text; its values are in small letters."""
    found = pattern(form).fullmatch(text)
    return found and {name: value.lower() for name, value in found.groupdict().items()}


def parse_item(item: str) -> Parsed:
    """Read an item back: exactly one kind has an opening for its first sentence, and each clause one form."""
    read = []
    for kind in kinds().values():
        for opening in kind.openings:
            for end in (match.end() for match in re.finditer(r"\.(?= )", item)):
                if values := matches(opening, item[:end]):
                    read.append((kind, values, item[end + 1 :]))
    assert len(read) == 1, item
    kind, values, rest = read[0]
    for clause in re.split(r", and |; |\. ", rest.removesuffix(".")):
        found = [
            values_of
            for name, attribute in kind.asked.items()
            for form in attribute.sentences
            if (values_of := matches(form, clause)) and name in values_of
        ]
        assert len(found) == 1, clause
        # A value is stated once; names of the identity may come again, and must agree.
        assert not {*found[0]} & {*values} & {*kind.asked}
        assert all(values[name] == found[0][name] for name in kind.identity if name in found[0])
        values |= found[0]
    assert set(values) >= {*kind.identity, *kind.shared, *kind.asked}
    return Parsed(kind.name, tuple(values[name] for name in kind.identity), values)


def parse_question(question: str) -> tuple[str, str, tuple[str, ...]]:
    """Read a question back: kind, what is asked, and the identity; no question can be read in two ways."""
    assert question.startswith(QUESTION)
    read = {
        (kind.name, name, tuple(values[each] for each in kind.identity))
        for kind in kinds().values()
        for name, attribute in kind.asked.items()
        for form in attribute.questions
        if (values := matches(form, question.removeprefix(QUESTION)))
    }
    assert len(read) == 1, question
    return read.pop()


def draft(seed: int = 0, capacity: int = 40, num_needles: int = 4, **params: object) -> Draft:
    depths = params.pop("depths", None)
    task = Records(**params)  # type: ignore[arg-type]
    return task.draft(np.random.default_rng(seed), capacity, num_needles, depths=depths)  # type: ignore[arg-type]


def make(seed: int = 0, num_items: int = 40, num_needles: int = 4, **params: object) -> Haystack:
    return draft(seed, num_items, num_needles, **params).haystack(num_items, "0")


@pytest.mark.parametrize(("num_needles", "seeds"), [(1, 40), (8, 40), (100, 2)])
def test_every_question_has_exactly_one_right_answer_in_its_haystack(num_needles: int, seeds: int) -> None:
    for seed in range(seeds):
        haystack = make(seed, num_needles + 50, num_needles)
        parsed = [parse_item(item) for item in haystack.items]
        for needle in haystack.needles:
            kind, name, identity = parse_question(needle.question)
            right = [place for place, each in enumerate(parsed) if (each.kind, each.identity) == (kind, identity)]
            assert right == [needle.position]
            assert parsed[right[0]].values[name] == needle.accepted[0].lower()


def test_an_answer_stands_in_no_item_but_the_gold_one() -> None:
    for seed in range(100):
        haystack = make(seed, 120, 8)
        for needle in haystack.needles:
            for value in needle.accepted:
                told = [place for place, item in enumerate(haystack.items) if value in item]
                assert told == [needle.position] * (value == needle.accepted[0])


def test_no_two_records_have_the_same_identity_even_where_names_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, pool in (("first", STARTS), ("last", MIDDLES)):
        monkeypatch.setitem(VALUES, name, partial(few, pool))
    parsed = [parse_item(item) for item in make(0, 300, 8, kinds=("person",)).items]
    assert len({each.identity for each in parsed}) == 300


def few(pool: tuple[str, ...], draws: Draws) -> str:
    return pick(draws, pool)


def test_siblings_follow_the_gold_records_and_share_one_name_and_all_surroundings() -> None:
    for seed in range(20):
        rows = [parse_item(item) for item in draft(seed, 16, 4, siblings=3).contents]
        for place, row in enumerate(rows[4:], start=4):
            gold = rows[place % 4]
            same = [mine == other for mine, other in zip(row.identity, gold.identity, strict=True)]
            assert sum(same) == 1
            assert same[0] == (place // 4 != 2)  # the first and third share the first name, the second the other
            shared = kinds()[row.kind].shared
            assert all(row.values[name] == gold.values[name] for name in shared)


def test_records_without_a_needle_have_siblings_too() -> None:
    families = Counter(parse_item(item).identity[0] for item in make(1, 200, 1, kinds=("part",)).items)
    assert sum(count == 3 for count in families.values()) >= 45


def test_the_answer_is_a_sentence_that_holds_the_value_and_both_names() -> None:
    for seed in range(30):
        for needle in make(seed).needles:
            _, _, identity = parse_question(needle.question)
            assert all(word.lower() in needle.answer.lower() for word in (*identity, needle.accepted[0]))
            assert needle.answer.endswith(".")
            assert len(needle.answer.split()) <= 16


def test_a_date_is_accepted_with_the_month_first() -> None:
    accepted = {needle.accepted for seed in range(20) for needle in make(seed, kinds=("voyage",)).needles}
    dates = [each for each in accepted if len(each) == 2]
    assert dates
    for day_first, month_first in dates:
        assert day_first.split() == month_first.split()[::-1]


def test_all_kinds_attributes_and_question_forms_are_asked() -> None:
    asked = Counter(parse_question(needle.question)[:2] for seed in range(60) for needle in make(seed, 20, 20).needles)
    assert set(asked) == {(kind.name, name) for kind in kinds().values() for name in kind.asked}
    assert max(asked.values()) < 2 * min(asked.values())


def test_no_number_means_two_things_in_a_record() -> None:
    for item in make(0, 2000, 1, kinds=("part",)).items:
        numbers = re.findall(r"\b\d{3,4}\b", item)
        assert len(set(numbers)) == len(numbers) == 4


def test_kinds_can_be_chosen() -> None:
    parsed = [parse_item(item) for item in make(kinds=("part", "order")).items]
    assert {each.kind for each in parsed} == {"part", "order"}


def test_drafts_of_different_capacities_agree_in_their_common_rows() -> None:
    for seed in range(20):
        small, large = draft(seed, 13), draft(seed, 50)
        assert list(small.contents) == list(large.contents)[:13]
        assert small.haystack(12, "0") == large.haystack(12, "0")


def test_one_more_item_adds_one_record_and_changes_no_other() -> None:
    for seed in range(20):
        each = draft(seed, 13)
        small, large = (Counter(each.haystack(size, "0").items) for size in (12, 13))
        assert (large - small).total() == 1
        assert not small - large


def test_arranging_twice_gives_the_same() -> None:
    each = draft()
    assert each.haystack(30, "0") == each.haystack(30, "0")


def test_gold_positions_are_uniform() -> None:
    positions = [needle.position for seed in range(500) for needle in make(seed, 10, 4).needles]
    shares = np.bincount(positions, minlength=10) / len(positions)
    assert shares == pytest.approx(np.full(10, 0.1), abs=0.03)


def test_given_depths_place_the_needles_and_the_rest_is_shuffled() -> None:
    haystack = make(0, 21, 5, depths=(0, 0.25, 0.5, 0.75, 1))
    assert [needle.position for needle in haystack.needles] == [0, 5, 10, 15, 20]
    contents = list(draft(0, 21, 5).contents)
    rest = [contents.index(item) for item in haystack.items if contents.index(item) >= 5]
    assert sorted(rest) == list(range(5, 21))
    assert rest != sorted(rest)


def test_of_two_needles_at_one_depth_the_later_moves_aside() -> None:
    assert [needle.position for needle in make(0, 5, 3, depths=(1, 1, 0)).needles] == [4, 3, 0]


def test_the_fewest_items_hold_the_needles() -> None:
    assert Records().min_items(8) == 8
    assert sorted(needle.position for needle in make(0, 8, 8).needles) == list(range(8))


def test_a_haystack_without_siblings_can_be_made() -> None:
    families = Counter(parse_item(item).identity[0] for item in make(1, 100, 1, kinds=("part",), siblings=0).items)
    assert sum(count == 1 for count in families.values()) >= 90


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_items": 3, "num_needles": 4}, "4 needles of records need 4 items, more than the 3"),
        ({"num_items": 200, "num_needles": 101}, "at most 100 needles"),
        ({"num_needles": 0}, "at least 1 needle, not 0"),
        ({"num_needles": 2, "depths": (0.5,)}, "2 needles were given 1 depths"),
    ],
)
def test_what_cannot_be_made_is_refused_with_numbers(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**arguments)  # type: ignore[arg-type]
