from __future__ import annotations

import pytest

from needlework import processes
from needlework.errors import UserError


def test_without_a_launcher_there_is_one_process() -> None:
    assert processes.count() == 1
    assert processes.is_first()
    assert processes.first(lambda: 5) == 5


@pytest.mark.parametrize(("batch_size", "count", "share"), [(16, 1, 16), (16, 8, 2), (3, 3, 1)])
def test_a_batch_is_shared_evenly(monkeypatch: pytest.MonkeyPatch, batch_size: int, count: int, share: int) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(count))
    assert processes.share(batch_size) == share


@pytest.mark.parametrize(
    ("batch_size", "count", "message"),
    [
        (16, 3, "of 16 haystacks cannot be split over 3 processes. Set train.batch_size to 15 or 18, or launch"),
        (2, 8, "of 2 haystacks cannot be split over 8 processes. Set train.batch_size to 8, or launch"),
    ],
)
def test_a_batch_that_cannot_be_shared_names_those_that_can(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, count: int, message: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(count))
    with pytest.raises(UserError) as error:
        processes.share(batch_size)
    assert message in str(error.value)


@pytest.mark.parametrize(("rank", "kind"), [("0", UserError), ("1", SystemExit)])
def test_a_mistake_that_all_meet_is_told_by_the_first(
    monkeypatch: pytest.MonkeyPatch, rank: str, kind: type[BaseException]
) -> None:
    monkeypatch.setenv("RANK", rank)
    assert isinstance(processes.agreed(UserError("x")), kind)
