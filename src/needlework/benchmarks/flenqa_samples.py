"""Samples of FLenQA's three tasks, made anew: two facts that only together answer a question, and text around them.

The tasks, their questions and the kinds of padding are those of Levy et al. (arXiv 2402.14848); people, rooms and the
sentences about them are ours. All names are invented, and each is used once in a haystack: what stands around the two
facts says nothing about the people and the room that are asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice

from needlework.corpus import passages, squad
from needlework.tasks.invented import Draws, name, pick
from needlework.tasks.sentences import sentences

RELATIONS = (
    *("younger", "older", "taller", "shorter", "heavier", "lighter", "faster", "slower", "stronger", "weaker"),
    *("louder", "quieter", "richer", "poorer"),
)
"""Each orders people strictly, so that whoever is between two others stands between them for sure."""
ROOMS = ("library", "parlour", "kitchen", "pantry", "ballroom", "cellar", "chapel", "gallery", "nursery", "workshop")
FEATURES = {
    "floored": ("marble", "slate", "cork", "brick", "bamboo", "granite", "pine", "cedar", "limestone", "walnut"),
    "walled": ("blue", "green", "yellow", "white", "red", "grey", "purple", "pink", "brown", "black"),
}
"""A room has one of each kind, so that another of the same kind is known to be wrong."""
ATTRIBUTES = (
    *("big", "blue", "cold", "furry", "green", "kind", "nice", "quiet", "red", "rough", "round", "smart"),
    *("white", "young"),
)
"""RuleTaker's (Clark et al., arXiv 2002.05867)."""

# What makes a sentence a paragraph. It names nobody and holds of everything, so that it can contradict nothing.
PEOPLE_TALK = (
    "Anyone who has met the two of them knows it.",
    "They have compared more than once, and it always came out the same way.",
    "Their friends stopped arguing about it long ago.",
    "It has been so for as long as they have known each other.",
    "Neither of them has ever disputed it.",
    "The difference is small, but nobody doubts it.",
    "It comes up whenever the two of them meet.",
)
STAY_TALK = (
    "The door is open and a lamp is lit.",
    "It is quiet there at this hour.",
    "A cup of tea stands on the table, still warm.",
    "There is no hurry to leave.",
    "Nobody else has come in since breakfast.",
    "The clock on the shelf has just struck.",
)
ROOM_TALK = (
    "It has been that way since the house was built.",
    "Visitors tend to remark on it.",
    "The work was done by hand and took a whole winter.",
    "The owner would not have it otherwise.",
    "It shows in every photograph of the place.",
    "A guest once asked to have it copied.",
)
TRAIT_TALK = (
    "Everyone in the village says so.",
    "It is the first thing that people notice.",
    "It has been so for many years.",
    "Nobody who knows the family is surprised.",
    "Strangers see it at once.",
    "It was no different in childhood.",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A question, its answer, and the two paragraphs that hold a fact each."""

    question: str
    label: bool
    paragraphs: tuple[str, str]
    rule: str = ""
    """What the facts are to be put together by, where the task has a rule."""


def sample(task: str, draws: Draws, taken: set[str], label: bool) -> Sample:
    """Draw a sample of a task.

    Args:
        task: "MonoRel", "PIR" or "Simplified RuleTaker".
        draws: Source of all randomness.
        taken: Names that are used already; the sample's own are added.
        label: What is to be the right answer.
    """
    return _TASKS[task](draws, taken, label)


def padding(kind: str, task: str, draws: Draws, taken: set[str], source: str | None) -> Iterator[str]:
    """Yield what stands around the facts.

    Args:
        kind: "same", the paragraphs of other samples of the task, without end; or "books", the sentences of running
            prose, each once, from a random one on.
        task: As for `sample`.
        draws: Source of all randomness.
        taken: Names that no sample may have; those of the padding are added.
        source: Where the prose comes from: a path as `needlework.corpus.passages` takes it, or None for the
            evaluation half of the embedded text.
    """
    if kind == "books":
        prose = _prose(source)
        first = int(next(draws) * len(prose))
        yield from chain(islice(prose, first, None), islice(prose, first))
    else:
        while True:
            yield from sample(task, draws, taken, pick(draws, (True, False))).paragraphs


@lru_cache
def _prose(source: str | None) -> tuple[str, ...]:
    found = squad("eval") if source is None else passages(source)
    return tuple(sentence for passage in found for sentence in sentences(passage.text))


def _mono_rel(draws: Draws, taken: set[str], label: bool) -> Sample:
    """Draw two steps of an order, and ask about its ends, in their order or the other way round."""
    low, middle, high = (_person(draws, taken) for _ in range(3))
    relation = pick(draws, RELATIONS)
    paragraphs = [
        _paragraph(draws, f"{one} is {relation} than {other}.", PEOPLE_TALK)
        for one, other in ((low, middle), (middle, high))
    ]
    one, other = (low, high) if label else (high, low)
    return Sample(f"Is {one} {relation} than {other}?", label, _in_some_order(draws, paragraphs))


def _people_in_rooms(draws: Draws, taken: set[str], label: bool) -> Sample:
    """Draw a person's room and what the room is like, and ask whether the person is in a room like that."""
    person, kind = _person(draws, taken), pick(draws, tuple(FEATURES))
    room = _new(draws, taken, lambda draws: f"{name(draws, 'place')} {pick(draws, ROOMS)}")
    real, other = _distinct(draws, FEATURES[kind], 2)
    paragraphs = [
        _paragraph(draws, f"{person} is in the {room}.", STAY_TALK),
        _paragraph(draws, f"The {room} is {real}-{kind}.", ROOM_TALK),
    ]
    question = f"Is {person} in a {real if label else other}-{kind} room?"
    return Sample(question, label, _in_some_order(draws, paragraphs))


def _ruletaker(draws: Draws, taken: set[str], label: bool) -> Sample:
    """Draw a rule of two conditions, and facts that meet both of them, or one."""
    person = _person(draws, taken)
    one, other, result, unrelated = _distinct(draws, ATTRIBUTES, 4)
    met = [one, other] if label else [pick(draws, (one, other)), unrelated]
    paragraphs = [_paragraph(draws, f"{person} is {trait}.", TRAIT_TALK) for trait in met]
    rule = f"If X is {one} and X is {other} then X is {result}."
    return Sample(f"{person} is {result}", label, _in_some_order(draws, paragraphs), rule)


_TASKS: dict[str, Callable[[Draws, set[str], bool], Sample]] = {
    "MonoRel": _mono_rel,
    "PIR": _people_in_rooms,
    "Simplified RuleTaker": _ruletaker,
}


def _new(draws: Draws, taken: set[str], draw: Callable[[Draws], str]) -> str:
    """Draw a name until it is a new one, and take it."""
    while (found := draw(draws)) in taken:
        pass
    taken.add(found)
    return found


def _person(draws: Draws, taken: set[str]) -> str:
    return _new(draws, taken, lambda draws: f"{name(draws, 'first')} {name(draws, 'last')}")


def _distinct(draws: Draws, pool: tuple[str, ...], count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        found += [each for each in (pick(draws, pool),) if each not in found]
    return found


def _paragraph(draws: Draws, fact: str, talk: tuple[str, ...]) -> str:
    return " ".join([fact, *_distinct(draws, talk, 2)])


def _in_some_order(draws: Draws, paragraphs: list[str]) -> tuple[str, str]:
    one, other = paragraphs
    return pick(draws, ((one, other), (other, one)))
