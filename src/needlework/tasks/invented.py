"""Invented names and values for fictional records: nothing that a model could know or would be taught.

Names have three syllables, the last of which tells what is named, so no two classes share a name. None of the
6,864 names of any class is among the 7.2 million word forms of 42 languages in wordfreq 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

Draws = Iterator[float]
"""Uniform numbers in [0, 1)."""

Choice = TypeVar("Choice")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


STARTS = _words(
    "Bal, Brim, Cor, Dal, Drev, Fal, Fen, Gal, Grel, Hul, Jar, Jes, Kel, Kor, Lun, Mal, Mor, Nar, Nel, Pol, Pram, "
    "Quel, Ral, Rus, Sel, Sor, Tal, Tam, Tul, Val, Vor, Yel, Zan"
)
MIDDLES = _words(
    "da, de, di, do, ga, gi, go, ka, ke, ki, lo, mi, mo, na, ni, pa, pe, ra, ta, ti, va, ve, vi, za, zo, zu"
)
ENDS = {
    "first": _words("neth, lith, rune, wen, dren, marn, sha, leth"),
    "last": _words("dak, bek, gant, holt, lund, rand, tov, quill"),
    "place": _words("wick, moor, holm, stead, ford, mere, combe, gate"),
    "line": _words("dyne, plex, trix, vex, lux, dex, tek, rix"),
    "firm": _words("marsh, borg, vald, strom, brook, court, hurst, well"),
    "goods": _words("bine, phite, dane, zane, tane, vane, rite, dol"),
    "vessel": _words("ressa, lora, morra, nessa, dara, vinda, zessa, bella"),
}

ROLES = _words(
    "a surveyor, an archivist, a bookbinder, a glazier, an engraver, a cartographer, a locksmith, a translator, "
    "a gardener, an inspector, a clerk, a cooper, an electrician, a weaver"
)
WORKPLACES = _words(
    "archive, observatory, library, foundry, museum, mill, ferry office, weather station, botanical garden, "
    "lighthouse, brewery"
)
COMPONENTS = _words(
    "a hinge, a valve, a gearwheel, an axle, a bracket, a pulley, a gasket, a coupling, a bearing, a lever, a nozzle, "
    "a flange, an actuator, a spindle"
)
MAKERS = _words("Foundry, Forge, Workshop, Engineering")
CUSTOMERS = ("& Sons", "Brothers", "& Company", "& Daughters")
# No plurals or countable nouns, since the forms say "is due" and "how much".
MATERIALS = _words("resin, cloth, thread, seed, oil, flour, glaze, wool, powder, paint, rope, paper, tea, felt")
MONTHS = _words("January, February, March, April, May, June, July, August, September, October, November, December")


def uniforms(rng: np.random.Generator) -> Draws:
    """Yield uniform numbers endlessly, much faster than drawing them from the generator one at a time."""
    while True:
        yield from rng.random(256).tolist()


def pick(draws: Draws, pool: Sequence[Choice]) -> Choice:
    """Return one of the pool, all equally likely."""
    return pool[int(next(draws) * len(pool))]


def name(draws: Draws, ends: str) -> str:
    """Return a name of the class whose last syllables are `ENDS[ends]`."""
    return pick(draws, STARTS) + pick(draws, MIDDLES) + pick(draws, ENDS[ends])


def _number(low: int, high: int) -> Callable[[Draws], str]:
    return lambda draws: str(low + int(next(draws) * (high - low + 1)))


def _date(draws: Draws) -> str:
    # Two digits each, so that no date is part of another, as "4 March" is of "14 March".
    return f"{10 + int(next(draws) * 19)} {pick(draws, MONTHS)}"


def _place(draws: Draws) -> str:
    return name(draws, "place")


def _surname(draws: Draws) -> str:
    return name(draws, "last")


def _material(draws: Draws) -> str:
    return f"{name(draws, 'goods').lower()} {pick(draws, MATERIALS)}"


# Numbers have at least three digits, so that none is part of a model's code.
VALUES: dict[str, Callable[[Draws], str]] = {
    "first": lambda draws: name(draws, "first"),
    "last": _surname,
    "role": lambda draws: pick(draws, ROLES),
    "workplace": lambda draws: f"the {_place(draws)} {pick(draws, WORKPLACES)}",
    "badge": _number(1000, 9999),
    "phone": _number(1000, 9999),
    "locker": _number(100, 999),
    "home": _place,
    "line": lambda draws: name(draws, "line"),
    "code": lambda draws: f"{pick(draws, 'ABCDEFGHKLMNPRSTVWXZ')}-{10 + int(next(draws) * 90)}",
    "component": lambda draws: pick(draws, COMPONENTS),
    "maker": lambda draws: f"{name(draws, 'firm')} {pick(draws, MAKERS)}",
    "warehouse": lambda draws: f"the {_place(draws)} warehouse",
    "weight": _number(100, 9999),
    "price": _number(100, 999),
    "stock": _number(100, 999),
    "bin": _number(100, 999),
    "customer": lambda draws: f"{name(draws, 'firm')} {pick(draws, CUSTOMERS)}",
    "goods": _material,
    "depot": lambda draws: f"the {_place(draws)} depot",
    "agent": _surname,
    "quantity": _number(100, 999),
    "total": _number(1000, 9999),
    "date": _date,
    "entry": _number(1000, 9999),
    "vessel": lambda draws: name(draws, "vessel"),
    "port": _place,
    "cargo": _material,
    "origin": _place,
    "tonnes": _number(100, 999),
    "berth": _number(100, 999),
    "day": _date,
    "master": _surname,
}
"""How each value of a record is drawn, by its name in records.yaml."""
