from __future__ import annotations

import pytest
import torch
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

from needlework.haystack import Haystack, Needle
from needlework.measures.heads import ATTENTION, Watched, measurements, watched_attention
from needlework.measures.packed import answer_logits
from needlework.models.chat import Renderer
from needlework.train.collator import collate
from needlework.train.shared_prefix import packed_attention
from tests.train.families import LENGTHS, MODELS, PREFIX, packed, tiny


def single_minded(renderer: Renderer, *wanted: str) -> LlamaForCausalLM:
    """A model of one layer whose head h attends to the tokens `wanted[h]`, whatever is asked and wherever they are."""
    size = len(wanted)
    config = LlamaConfig(
        vocab_size=len(renderer.tokenizer), hidden_size=4 * size, intermediate_size=4, num_hidden_layers=1,
        num_attention_heads=size, num_key_value_heads=size, max_position_embeddings=4096, bos_token_id=0,
        eos_token_id=2, pad_token_id=0, rope_parameters={"rope_type": "default", "rope_theta": 1e12},
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    attention = model.model.layers[0].self_attn
    with torch.no_grad():
        for each in (model.model.embed_tokens.weight, attention.q_proj.weight, attention.k_proj.weight):
            each.zero_()
        # Feature 0 is of all tokens, feature 1 + h of the token that head h wants.
        model.model.embed_tokens.weight[:, 0] = 1
        for head, token in enumerate(wanted):
            model.model.embed_tokens.weight[renderer.encode([token])[0][0], 1 + head] = 1
            # Rotation leaves the second of a head's four dimensions where it is, at this base.
            attention.q_proj.weight[4 * head + 1, 0] = 1
            attention.k_proj.weight[4 * head + 1, 1 + head] = 1
    return model


def haystack(*answers: str) -> Haystack:
    """Items of one number each, and as many questions."""
    items = tuple(f"item {answer}" for answer in answers)
    needles = tuple(
        Needle(f"n{index}", "g", f"item {index}?", f"It is {answer}.", (answer,), index)
        for index, answer in enumerate(answers)
    )
    return Haystack("h", "t", "", items, needles)


def test_a_head_scores_the_share_of_answer_tokens_that_it_copies(renderer: Renderer) -> None:
    model = single_minded(renderer, "7", "9", "I")
    first, second = measurements(model, renderer, [haystack("75", "9")])
    assert first.values == {"L0.H0": 0.5, "L0.H1": 0.0, "L0.H2": 0.0}
    assert second.values == {"L0.H0": 0.0, "L0.H1": 1.0, "L0.H2": 0.0}
    assert (first.id, first.group) == ("n0", "h")


def test_the_same_token_elsewhere_is_no_copy(renderer: Renderer) -> None:
    # The head looks at the first 7, which is that of the other item.
    found = list(measurements(single_minded(renderer, "7"), renderer, [haystack("7", "87")]))
    assert [each.values["L0.H0"] for each in found] == [1.0, 0.0]


def test_needles_whose_item_does_not_hold_the_answer_are_left_out(renderer: Renderer) -> None:
    needles = (
        Needle("n0", "g", "Where?", "It is 75.", ("75",), -1),
        Needle("n1", "g", "Where?", "It is 9.", ("9",), 0),
        Needle("n2", "g", "Why?", "It is 75.", ("75",), 0),
        Needle("n3", "g", "Why not?", "Nobody knows.", ("75",), 0),
    )
    asked = Haystack("h", "t", "", ("item 75",), needles)
    assert [each.id for each in measurements(single_minded(renderer, "7"), renderer, [asked])] == ["n2"]


@torch.no_grad()
@pytest.mark.parametrize("family", sorted(MODELS))
def test_heads_look_where_plain_attention_is_largest(family: str) -> None:
    model, row = tiny(family).eval(), packed()
    AttentionInterface.register(ATTENTION, watched_attention)
    inputs = collate(row)
    layout = inputs["layout"] = Watched(inputs["layout"], inputs["logits_to_keep"])
    with packed_attention(model, ATTENTION):
        answer_logits(model, inputs)
    found = torch.stack([layout.tops[layer] for layer in range(3)]).split(row.answers, dim=2)
    model.set_attn_implementation("eager")
    begin = PREFIX
    for branch, (length, answer), tops in zip(row.branches, LENGTHS, found, strict=True):
        ids = torch.tensor([row.prefix + branch])
        plain = torch.stack(model(ids, output_attentions=True).attentions)[:, 0, :, -answer - 1 : -1].argmax(-1)
        own = plain >= PREFIX
        assert torch.equal(tops, torch.where(own, plain - PREFIX + begin, plain))
        begin += length
