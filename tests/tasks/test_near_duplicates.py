from __future__ import annotations

from needlework.tasks import make_task
from tests.tasks.reading import asked, dictionaries, holders, is_near, many

TEMPLATE = (
    "Report the value of key N and the dictionary it is in. Answer in the following template:\n"
    "The value of key N is <fill-in-value> and it is in Dictionary [<fill-in-dictionary-name>]."
)


def test_a_search_of_the_text_finds_exactly_the_answer() -> None:
    for haystack in many("near_duplicates"):
        for needle in haystack.needles:
            key, again = asked(needle.question, TEMPLATE)
            ((name, value),) = holders(haystack, key).items()
            assert key == again
            assert needle.answer == f"The value of key {key} is {value} and it is in Dictionary [{name}]."
            assert (needle.accepted, needle.position) == ((str(value),), name - 1)


def test_no_other_pair_has_the_value() -> None:
    for haystack in many("near_duplicates"):
        values = [value for pairs in dictionaries(haystack).values() for value in pairs.values()]
        assert all(values.count(int(needle.accepted[0])) == 1 for needle in haystack.needles)


def test_every_key_has_a_near_duplicate_even_in_the_smallest_haystack() -> None:
    for haystack in many("near_duplicates"):
        keys = [key for pairs in dictionaries(haystack).values() for key in pairs]
        for needle in haystack.needles:
            key, _ = asked(needle.question, TEMPLATE)
            assert any(is_near(other, key) for other in keys)


def test_without_template_only_the_question_differs() -> None:
    for with_it, without in zip(many("near_duplicates", 20), many("near_duplicates", 20, template=False), strict=True):
        assert with_it.items == without.items
        for one, other in zip(with_it.needles, without.needles, strict=True):
            assert one.answer == other.answer
            assert asked(other.question, "Report the value of key N and the dictionary it is in.")


def test_it_needs_no_more_dictionaries_than_needles() -> None:
    assert [make_task("near_duplicates").min_items(needles) for needles in (1, 8)] == [1, 8]
