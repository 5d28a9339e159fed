from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from needlework.models.chat import Renderer
from needlework.models.loading import Precision, load_model
from needlework.train import cpu_attention as module
from needlework.train.cpu_attention import cpu_attention
from needlework.train.shared_prefix import Layout
from needlework.train.trainer import finetune
from tests.train.test_trainer import SETTINGS, haystacks, weights

PREFIX = 40


def inputs_of(heads: int, groups: int, rows: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    torch.manual_seed(0)
    sizes = ((1, each, PREFIX + rows, 16) for each in (heads, groups, groups))
    return [torch.randn(size).to(dtype).requires_grad_() for size in sizes]


def masked(inputs: list[torch.Tensor], layout: Layout) -> torch.Tensor:
    """The same by one masked call over the whole row."""
    rows = sum(layout.branches)
    causal = torch.ones(PREFIX, PREFIX + rows, dtype=torch.bool).tril()
    mask = torch.cat([causal, layout.branch_mask(None, torch.device("cpu"))])
    return scaled_dot_product_attention(*inputs, attn_mask=mask, scale=0.3, enable_gqa=True)


@pytest.mark.parametrize("skip_prefix", [False, True])
@pytest.mark.parametrize("branches", [(5,), (7, 7, 7), (9, 1, 4, 30)])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (3, 1)])
def test_output_and_gradients_equal_masked_attention(
    branches: tuple[int, ...], heads: int, groups: int, skip_prefix: bool
) -> None:
    layout = Layout(PREFIX, branches)
    inputs = inputs_of(heads, groups, sum(branches))
    expected = masked(inputs, layout)
    upstream = torch.randn(expected.shape)
    if skip_prefix:
        expected = torch.cat([torch.zeros_like(expected[:, :, :PREFIX]), expected[:, :, PREFIX:]], dim=2)
    expected_gradients = torch.autograd.grad(expected, inputs, upstream)

    found = cpu_attention(*inputs, layout, scale=0.3, skip_prefix=skip_prefix)
    found_gradients = torch.autograd.grad(found, inputs, upstream)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for mine, reference in zip(found_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("heads", "groups"), [(6, 2), (6, 3), (3, 1)])
def test_copied_keys_give_the_same(heads: int, groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, inputs = Layout(PREFIX, (5, 3)), inputs_of(heads, groups, 8)
    found = []
    for copies in (False, True):
        monkeypatch.setattr(module, "LONG", 1)
        monkeypatch.setattr(module, "_copies", lambda *_: copies)  # noqa: B023
        output = cpu_attention(*inputs, layout, scale=0.3)
        found.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    for grouped, copied in zip(*found, strict=True):
        torch.testing.assert_close(grouped, copied, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("heads", "groups", "threads", "copies"),
    [(2, 1, 2, True), (9, 3, 2, True), (32, 8, 16, True), (8, 2, 2, False), (9, 3, 1, False), (4, 4, 3, False)],
)
def test_keys_are_copied_where_more_threads_are_busy_so(heads: int, groups: int, threads: int, copies: bool) -> None:
    assert module._copies(heads, groups, threads) == copies


@pytest.mark.parametrize("branches", [(5,), (5, 3), (9, 1, 4, 30)])
@pytest.mark.parametrize("shares", [2, 3])
def test_rows_cut_into_shares_have_the_same_gradients(
    branches: tuple[int, ...], shares: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, inputs = Layout(PREFIX, branches), inputs_of(6, 2, sum(branches))
    found = []
    for count in (1, shares):
        monkeypatch.setattr(module, "shares_of", lambda *_: count)  # noqa: B023
        found.append(torch.autograd.grad(cpu_attention(*inputs, layout, scale=0.3).square().sum(), inputs))
    for whole, cut in zip(*found, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("groups", "rows", "threads", "shares"),
    [(3, 1917, 2, 2), (3, 1917, 1, 1), (4, 1917, 2, 1), (8, 8192, 16, 2), (3, 1917, 64, 7), (3, 100, 2, 1)],
)
def test_rows_are_cut_where_threads_would_be_idle(groups: int, rows: int, threads: int, shares: int) -> None:
    assert module.shares_of(groups, rows, threads) == shares


@pytest.mark.parametrize("fastest", ["fp32", "bf16"])
def test_bf16_stays_bf16_outside(fastest: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fastest_precision", lambda: fastest)
    layout = Layout(PREFIX, (3, 2))
    inputs = inputs_of(4, 2, 5, torch.bfloat16)
    output = cpu_attention(*inputs, layout, scale=0.3)
    assert output.dtype == torch.bfloat16
    assert {each.dtype for each in torch.autograd.grad(output.sum(), inputs)} == {torch.bfloat16}


def test_where_bf16_is_slower_its_attention_is_that_of_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fastest_precision", lambda: "fp32")
    layout = Layout(PREFIX, (3, 2))
    inputs = inputs_of(4, 2, 5, torch.bfloat16)
    expected = cpu_attention(*(each.float() for each in inputs), layout, scale=0.3)
    found = cpu_attention(*inputs, layout, scale=0.3)
    assert torch.equal(found, expected.to(torch.bfloat16))


def test_a_continued_training_attends_in_the_precision_it_began_with(
    model_folder: Path, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(name: str, fastest: str, stop: int | None = None) -> dict[str, torch.Tensor]:
        def report(row: dict[str, float]) -> None:
            if row["step"] == stop:
                raise KeyboardInterrupt

        monkeypatch.setattr("needlework.train.cpu_attention.fastest_precision", lambda: fastest)
        model, data = load_model(str(model_folder)), haystacks(renderer)
        return weights(finetune(model, renderer, data, SETTINGS, tmp_path / name, report, precision="bf16"))

    with pytest.raises(KeyboardInterrupt):
        train("continued", "bf16", stop=5)
    found, expected, other = train("continued", "fp32"), train("bf16", "bf16"), train("fp32", "fp32")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not all(torch.equal(found[name], other[name]) for name in expected)
