from __future__ import annotations

from needlework.dataset.encoded import IGNORED
from needlework.models.chat import PackedRow, Renderer
from needlework.train.samples import PackedDataset, Sample, collate_sample, supervised
from tests.train.test_trainer import haystacks


def test_the_last_round_of_the_processes_is_filled_up(renderer: Renderer) -> None:
    dataset = PackedDataset(haystacks(renderer, size=5), renderer, processes=4)
    assert [(dataset[place].number, dataset[place].filling) for place in range(len(dataset))] == [
        *((number, False) for number in range(5)),
        *((number, True) for number in range(3)),
    ]


def test_one_process_needs_no_filling(renderer: Renderer) -> None:
    assert len(PackedDataset(haystacks(renderer, size=5), renderer)) == 5


def test_no_token_of_a_filling_is_trained_on() -> None:
    inputs = collate_sample([Sample(3, PackedRow((1, 2), ((3, 4), (5, 6, 7)), (1, 2)), filling=True)])
    assert inputs["labels"].tolist() == inputs["shift_labels"].tolist() == [IGNORED] * 3


def test_a_sample_keeps_its_number_and_labels() -> None:
    inputs = collate_sample([Sample(3, PackedRow((1, 2), ((3, 4), (5, 6, 7)), (1, 2)), filling=False)])
    assert inputs["sample"] == 3
    assert inputs["labels"].tolist() == [4, 6, 7]


def test_what_is_trained_on_is_told_from_its_tokens(renderer: Renderer) -> None:
    sample = haystacks(renderer)[0]
    row = renderer.pack(sample)
    assert supervised(row, renderer) == (
        f"supervised: {sample.needles[0].answer + '<|im_end|>'!r}, the first of 3 answers of {sum(row.answers)} tokens"
    )
