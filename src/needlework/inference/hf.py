"""Greedy answers of a transformers model, each shared prompt prefix computed once.

Prompts are sorted by their tokens, so that those that share a beginning are neighbours: the needles of one haystack, or
one question at several gold positions. A batch is a prefix tree: what some of its prompts share goes through the model
once, and its keys and values are held and read once for all of them. Then all answers are decoded together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from needlework.errors import ModelError
from needlework.inference.backend import Answer, Ask, check_lengths
from needlework.inference.prefixes import batches, packs, spans
from needlework.inference.sharing import can_share, sharing
from needlework.inference.tree import Decode, Held, Prefill
from needlework.models.chat import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


MOST_TOKENS = 32768
HELD = 0.5
"""The share of a GPU's memory beside the weights that is for keys and values (our choice, not measured on a GPU)."""


class HFBackend:
    """Answers with a transformers model.

    Args:
        model: The model, on its device.
        renderer: Its tokenizer and chat template.
        share: Compute shared prefixes once, where `can_share` says that it is exact.
        max_batch: Prompts decoded together.
        max_batch_tokens: Tokens, shared ones counted once, whose keys and values are held; by default `MOST_TOKENS`,
            or fewer if the GPU's memory takes fewer.

    Raises:
        TooLongError: If a prompt and its answer exceed the model's context; nothing is ever truncated.
    """

    concurrency = None

    def __init__(
        self,
        model: PreTrainedModel,
        renderer: Renderer,
        *,
        share: bool = True,
        max_batch: int = 64,
        max_batch_tokens: int | None = None,
    ) -> None:
        self.model = model.eval()
        self.renderer = renderer
        self.max_batch = max_batch
        self.max_batch_tokens = max_batch_tokens or tokens_held(model)
        self.share = share and can_share(model.config)
        self.context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.ends = set(renderer.ends(model.generation_config))

    def batches(self, asks: Sequence[Ask], *, max_new_tokens: int) -> list[list[int]]:
        """Group neighbours in the order of their tokens; a batch ends where least is shared with the next."""
        ids = [self.renderer.prompt_ids(ask.haystack, ask.needle) for ask in asks]
        check_lengths(asks, ids, max_new_tokens, self.context)
        order = sorted(range(len(asks)), key=ids.__getitem__)
        prompts = [ids[index] for index in order]
        found = batches(prompts, most=self.max_batch, tokens=self.max_batch_tokens, answer=max_new_tokens)
        return [[order[place] for place in batch] for batch in found]

    def answer(self, asks: Sequence[Ask], *, max_new_tokens: int, stop: str | None) -> list[Answer]:
        """Answer one batch."""
        prompts = [self.renderer.prompt_ids(ask.haystack, ask.needle) for ask in asks]
        outputs = self.generate(prompts, max_new_tokens=max_new_tokens, stop=stop)
        texts = self.renderer.tokenizer.batch_decode(outputs, skip_special_tokens=True)
        return [
            Answer(text.split(stop)[0] if stop else text, len(prompt), len(output))
            for text, prompt, output in zip(texts, prompts, outputs, strict=True)
        ]

    @torch.inference_mode()
    def generate(self, prompts: Sequence[list[int]], *, max_new_tokens: int, stop: str | None) -> list[list[int]]:
        """Return the tokens of the answers to one batch, without the end of turn; a `stop` may be passed by a token."""
        if not self.share:
            return [self._generate_alone(prompt, max_new_tokens) for prompt in prompts]
        order = sorted(range(len(prompts)), key=prompts.__getitem__)
        with sharing(self.model):
            outputs = self._decode([prompts[index] for index in order], max_new_tokens, stop)
        return [output for _, output in sorted(zip(order, outputs, strict=True))]

    def _prefill(self, prompts: list[list[int]]) -> tuple[list[Held], torch.Tensor]:
        """Compute the prefix tree of sorted prompts and return it, and the first token of each answer, [B]."""
        held: list[Held] = []
        first = torch.empty(len(prompts), dtype=torch.long, device=self.model.device)
        for pack in packs(spans(prompts)):
            step = Prefill(pack, held, prompts)
            ending = [number for number, span in enumerate(pack) if span.stop == len(prompts[span.first])]
            logits = self._forward(torch.tensor([step.ids]), step, [step.ends[number] for number in ending])
            first[[pack[number].first for number in ending]] = logits.argmax(-1)
            if len(step.held[0].states) != self.model.config.get_text_config().num_hidden_layers:
                raise ModelError("not every layer shared prefixes, so the answers would be wrong.")
            held += step.held
        return held, first

    def _decode(self, prompts: list[list[int]], max_new_tokens: int, stop: str | None) -> list[list[int]]:
        """Return the answers to sorted prompts."""
        held, tokens = self._prefill(prompts)
        step = Decode(held, [len(prompt) for prompt in prompts], max_new_tokens)
        del held  # so that what `step` drops is freed
        outputs: list[list[int]] = [[] for _ in prompts]
        rows, going = list(range(len(prompts))), [True] * len(prompts)
        while True:
            for slot, token in enumerate(tokens.tolist()):
                if going[slot]:
                    output = outputs[rows[slot]]
                    ended = token in self.ends
                    if not ended:
                        output.append(token)
                    stopped = stop is not None and stop in self.renderer.tokenizer.decode([token])
                    going[slot] = not ended and not stopped and len(output) < max_new_tokens
            if not any(going):
                return outputs
            # Dropping finished rows copies what the others hold, so wait until that pays.
            if sum(going) <= 0.75 * len(going):
                keep = [slot for slot, more in enumerate(going) if more]
                step.keep(keep)
                rows, going, tokens = [rows[slot] for slot in keep], [True] * len(keep), tokens[keep]
            tokens = self._forward(tokens[None], step, slice(None)).argmax(-1)
            step.advance()

    def _forward(self, ids: torch.Tensor, step: Prefill | Decode, wanted: list[int] | slice) -> torch.Tensor:
        """Run the model on the tokens of a step, [1, N], and return the logits of those wanted, [W, vocabulary]."""
        device = self.model.device
        output = self.model(
            input_ids=ids.to(device),
            position_ids=step.positions.to(device),
            use_cache=False,
            logits_to_keep=torch.arange(ids.shape[1], device=device)[wanted],
            step=step,
        )
        logits: torch.Tensor = output.logits[0]
        return logits

    def _generate_alone(self, prompt: list[int], max_new_tokens: int) -> list[int]:
        """Answer one prompt with transformers' own greedy decoding."""
        from transformers import GenerationConfig

        ids = torch.tensor([prompt], device=self.model.device)
        # The settings that come with a model may search beams, or forbid it to repeat what stands in the prompt.
        usual, self.model.generation_config = self.model.generation_config, GenerationConfig()
        try:
            output = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                eos_token_id=sorted(self.ends) or None,
                pad_token_id=min(self.ends, default=0),
            )
        finally:
            self.model.generation_config = usual
        generated: list[int] = output[0, len(prompt) :].tolist()
        return generated[:-1] if generated and generated[-1] in self.ends else generated


def tokens_held(model: PreTrainedModel) -> int:
    """Return how many tokens' keys and values may be held at once: what the device's memory takes, not what is free.

    That differs from run to run, and answers may depend on the shape of a batch.
    """
    if model.device.type != "cuda":
        return MOST_TOKENS
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    room = torch.cuda.get_device_properties(model.device).total_memory - model.get_memory_footprint()
    return max(1, min(MOST_TOKENS, int(HELD * room / token)))
