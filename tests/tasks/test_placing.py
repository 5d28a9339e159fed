from __future__ import annotations

import numpy as np
import pytest

from needlework.errors import UserError
from needlework.tasks.placing import check, place


def test_places_differ_and_are_uniform() -> None:
    rng = np.random.default_rng(0)
    places = np.array([place(rng.random(2), 5, None) for _ in range(2000)])
    assert (places[:, 0] != places[:, 1]).all()
    counts = np.stack([np.bincount(column, minlength=5) for column in places.T])
    assert counts == pytest.approx(np.full((2, 5), 400), abs=80)


def test_depths_fix_the_first_gold_items_and_the_others_keep_off_their_places() -> None:
    rng, seen = np.random.default_rng(0), set[int]()
    for _ in range(60):
        places = place(rng.random(5), 9, (0, 0.5, 1))
        assert places[:3] == [0, 4, 8]
        assert len(set(places)) == 5
        seen |= set(places[3:])
    assert seen == {1, 2, 3, 5, 6, 7}


def test_more_gold_items_than_items_are_refused() -> None:
    with pytest.raises(UserError, match="do not fit"):
        place(np.zeros(5), 4, (0, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 0, 0, None), "mdqa needs at least 1 needle, not 0"),
        ((4, 5, 5, None), "5 needles of mdqa need 5 items, more than the 4"),
        ((4, 2, 2, (0.5,)), "2 needles were given 1 depths"),
        ((4, 1, 1, (50,)), "a depth is 50: give one from 0, the first item, to 1, the last"),
        ((4, 1, 1, (float("nan"),)), "a depth is nan"),
    ],
)
def test_what_no_draft_can_hold_is_refused(arguments: tuple[int, int, int, tuple[float] | None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check("mdqa", *arguments)
