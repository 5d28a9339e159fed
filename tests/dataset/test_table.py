from __future__ import annotations

import numpy as np
import pytest

from needlework.dataset.table import LARGEST, Table, Unsplittable
from needlework.models.chat import Renderer
from needlework.tasks import make_task
from needlework.tasks.draft import NOTHING, Draft
from tests.conftest import make_tokenizer


def draft() -> Draft:
    return make_task("simple_dict").draft(np.random.default_rng(0), 9, 1)


def test_pieces_become_the_ids_of_their_text(renderer: Renderer) -> None:
    table = Table(draft(), renderer)
    # ] { 122 : 7 , 4548
    ids = table.take(np.array([-2, 122, -3, 7, NOTHING, -4, 4548]))
    expected = renderer.encode(["] {122: 7, 4548"])[0]
    assert ids.tolist() == expected


def test_the_tail_is_the_rest_of_the_prompt_and_the_completion(renderer: Renderer) -> None:
    one = draft()
    table = Table(one, renderer)
    haystack = one.haystack(9, "")
    (prompt, completion) = renderer.rows(haystack)[0]
    ids, answer, shortest = table.tail(one.arrange(9).needles[0])
    assert shortest <= len(ids)
    assert (prompt + completion)[-len(ids) :] == ids.tolist()
    assert ids[-answer:].tolist() == completion


def test_a_seam_inside_a_token_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([": 1"])
    with pytest.raises(Unsplittable):
        Table(draft(), Renderer(tokenizer))


def test_a_large_table_is_not_tokenized_at_once(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    table, sizes = Table(draft(), renderer), []
    cut = table._cut

    def counting(texts: list[str], spans: list[tuple[int, int]]) -> list[list[int]]:
        sizes.append(len(texts))
        return cut(texts, spans)

    monkeypatch.setattr(table, "_cut", counting)
    monkeypatch.setattr("needlework.dataset.table.BATCH", 30_000)
    table.cover(54321)
    assert sizes[:3] == [30_000, 30_000, 30_000]
    assert len(table.numbers) == 10**5
    assert table.take(np.array([99_999])).tolist() == renderer.encode([": 99999"])[0][-5:]


def test_numbers_beyond_the_largest_are_refused(renderer: Renderer) -> None:
    table = Table(draft(), renderer)
    table.cover(54321)
    assert table.take(np.array([54321])).tolist() == renderer.encode([": 54321"])[0][-5:]
    with pytest.raises(Unsplittable):
        table.cover(LARGEST)
