from __future__ import annotations

from needlework.haystack import Haystack, Needle
from needlework.inference.backend import Ask, FakeBackend


def test_the_fake_backend_replies_in_batches() -> None:
    needle = Needle("a", "a", "one two", "x", ("x",), -1)
    asks = [Ask(Haystack("h", "t", "", (), (needle,)), needle)] * 5
    backend = FakeBackend(lambda ask: ask.needle.question.upper(), batch_size=2)
    assert backend.batches(asks, max_new_tokens=1) == [[0, 1], [2, 3], [4]]
    answers = backend.answer(asks[:2], max_new_tokens=1, stop=None)
    assert [(each.output, each.prompt_tokens) for each in answers] == [("ONE TWO", 2)] * 2
