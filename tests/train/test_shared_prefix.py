"""The contract of shared-prefix training: it equals K separate rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
import transformers
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from needlework.errors import ModelError
from needlework.models import fused
from needlework.models.chat import PackedRow
from needlework.models.families import PROVEN
from needlework.train import cpu_attention
from needlework.train.shared_prefix import Layout, confirm, enable, packed_attention, shared_prefix_attention
from needlework.train.trainable import Trainable
from tests.train.families import MODELS, deviation, losses_and_gradients, packed, packed_logits, separate_loss, tiny


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take longer than these small models."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def use_checkpointing(model: transformers.PreTrainedModel) -> None:
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})


def test_every_proven_type_is_tested_here() -> None:
    assert MODELS.keys() == PROVEN
    assert {tiny(name).config.model_type for name in MODELS} == PROVEN


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("trainable", ["attention", "full", "lora"])
@pytest.mark.parametrize("name", sorted(PROVEN))
def test_loss_and_every_gradient_equal_separate_rows(name: str, trainable: Trainable, checkpointing: bool) -> None:
    losses, gradients = losses_and_gradients(name, trainable, checkpointing)
    assert deviation(*losses) < 1e-6
    assert max(deviation(*pair) for pair in gradients.values()) < 2e-5


@pytest.mark.parametrize("name", sorted(PROVEN))
def test_in_bf16_it_is_as_close_as_bf16_allows(name: str) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        losses, gradients = losses_and_gradients(name, "full", True)
    assert deviation(*losses) < 0.002
    assert max(deviation(*pair) for pair in gradients.values()) < 0.1


@pytest.mark.parametrize("name", sorted(PROVEN))
def test_changing_one_branch_leaves_the_others_bit_identical(name: str) -> None:
    row = packed()
    changed = PackedRow(row.prefix, (row.branches[0], packed(1).branches[1], row.branches[2]), row.answers)
    model = tiny(name)
    enable(model)
    before, _ = packed_logits(model, row)
    after, _ = packed_logits(model, changed)
    first, second, _ = row.answers
    assert torch.equal(before[:first], after[:first])
    assert torch.equal(before[first + second :], after[first + second :])
    assert not torch.equal(before[first : first + second], after[first : first + second])


def test_a_single_needle_equals_an_ordinary_row() -> None:
    row = packed()
    single = PackedRow(row.prefix, row.branches[:1], row.answers[:1])
    model = tiny("llama")
    expected = separate_loss(model, single)
    enable(model)
    torch.testing.assert_close(cross_entropy(*packed_logits(model, single)), expected, rtol=1e-5, atol=1e-6)


def test_the_last_layer_computes_no_attention_of_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []

    def counting(query: torch.Tensor, *others: object, **options: object) -> torch.Tensor:
        rows.append(query.shape[2])
        return flash(query, *others, **options)

    flash = cpu_attention.flash
    monkeypatch.setattr(cpu_attention, "flash", counting)
    model = tiny("llama")
    enable(model)
    row = packed()
    packed_logits(model, row)
    assert rows.count(len(row.prefix)) == model.config.num_hidden_layers - 1


def test_refuses_a_model_that_is_not_proven() -> None:
    config = transformers.GPT2Config(vocab_size=61, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    with pytest.raises(ModelError, match="not proven exact for 'gpt2'"):
        enable(transformers.GPT2LMHeadModel(config))


@pytest.mark.parametrize("given", ["mask", "dropout", "sinks"])
def test_refuses_what_it_would_have_to_leave_out(given: str) -> None:
    inputs = [torch.ones(1, 2, 3, 4)] * 3
    mask = torch.ones(1, 1, 3, 3) if given == "mask" else None
    options = {"dropout": {"dropout": 0.1}, "sinks": {"s_aux": torch.ones(2)}}.get(given, {})
    with pytest.raises(ModelError, match="no mask, dropout or attention sinks"):
        shared_prefix_attention(torch.nn.Module(), *inputs, mask, layout=Layout(2, (1,)), **options)


def test_fused_kernels_get_queries_and_keys_of_one_type_with_values(monkeypatch: pytest.MonkeyPatch) -> None:
    given: set[torch.dtype] = set()
    copies = fused.copies_keys
    monkeypatch.setattr(
        fused, "copies_keys", lambda device, dtype, *, masked: given.add(dtype) or copies(device, dtype, masked=masked)
    )
    model, row = tiny("mistral"), packed()
    assert model.config.sliding_window < len(row.prefix)
    enable(model)
    with torch.autocast("cpu", torch.bfloat16):
        packed_logits(model, row)
    assert given == {torch.bfloat16}


def test_notices_a_model_that_did_not_use_ours() -> None:
    with pytest.raises(ModelError, match=r"layers \[0, 1, 2\]"):
        confirm(Layout(2, (1,)), tiny("llama"))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_notices_one_layer_that_did_not_use_ours(checkpointing: bool) -> None:
    model = tiny("gemma2")
    if checkpointing:
        use_checkpointing(model)
    enable(model)
    attention = model.model.layers[1].self_attn
    attention.config = copy.deepcopy(attention.config)
    attention.config._attn_implementation = "eager"
    with pytest.raises(ModelError, match=r"layers \[1\]"):
        packed_logits(model, packed())


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("wrapper", ["ddp", "fsdp2"])
def test_layers_of_a_wrapped_model_confirm_too(wrapper: str) -> None:
    model = tiny("gemma3_text")
    use_checkpointing(model)
    enable(model)
    expected, _ = packed_logits(model, packed())
    wrapped: torch.nn.Module = model
    if wrapper == "ddp":
        wrapped = DistributedDataParallel(model)
    else:
        mesh = init_device_mesh("cpu", (1,))
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    logits, labels = packed_logits(wrapped, packed())
    cross_entropy(logits, labels).backward()
    assert torch.equal(logits, expected)


def test_afterwards_the_model_attends_as_before(model: transformers.LlamaForCausalLM) -> None:
    before = model.config._attn_implementation
    with pytest.raises(KeyError), packed_attention(model):
        raise KeyError
    assert model.config._attn_implementation == before


def test_cudnn_is_not_used_and_then_again_as_before() -> None:
    is_on = torch.backends.cuda.cudnn_sdp_enabled
    before = is_on()
    torch.backends.cuda.enable_cudnn_sdp(True)
    try:
        with packed_attention(tiny("llama")):
            assert not is_on()
        assert is_on()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
