import pytest
import torch

from needlework.train.last_layer import skip_last_prefix
from needlework.train.shared_prefix import enable, packed_attention
from tests.train.families import MODELS, packed, packed_logits, tiny


def rows_of(projection: str, model: torch.nn.Module) -> list[int]:
    """Return a list to which each forward of a layer's projection adds its rows."""
    rows: list[int] = []
    for name, module in model.named_modules():
        if name.endswith(projection):
            module.register_forward_pre_hook(lambda module, args: rows.append(args[0].shape[1]))
    return rows


@pytest.mark.parametrize("projection", ["self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_last_layer_computes_branch_rows_only(name: str, projection: str) -> None:
    model, row = tiny(name), packed()
    enable(model)
    rows = rows_of(projection, model)
    packed_logits(model, row)
    branches = sum(map(len, row.branches))
    own_queries = not (name == "phi3" and projection == "self_attn.q_proj")
    assert rows == [len(row.prefix) + branches, len(row.prefix) + branches, branches][: 3 * own_queries]


def test_enabling_twice_is_the_same() -> None:
    model, row = tiny("llama"), packed()
    enable(model)
    once, _ = packed_logits(model, row)
    enable(model)
    assert torch.equal(packed_logits(model, row)[0], once)


def test_without_a_layout_nothing_changes() -> None:
    model, ids = tiny("llama"), torch.tensor([[3, 4, 5]])
    expected = model(input_ids=ids).logits
    skip_last_prefix(model)
    assert torch.equal(model(input_ids=ids).logits, expected)


def test_a_model_is_left_without_hooks() -> None:
    model = tiny("llama")
    for _ in range(2):
        with packed_attention(model):
            assert any(each._forward_hooks for each in model.modules())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
