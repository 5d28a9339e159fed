"""Greedy answers of vLLM in this process, with its prefix caching, asked in the token ids that `hf` asks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from needlework.errors import ModelError
from needlework.inference.backend import Answer, Ask, check_lengths
from needlework.models import embedded
from needlework.models.chat import Renderer
from needlework.models.loading import Precision, adapted_by

if TYPE_CHECKING:
    from vllm import LLM

BATCH = 128
"""Prompts handed over, and answers recorded, together: enough to keep a GPU busy."""


def load(name: str, *, precision: Precision, trust_remote_code: bool = False) -> LLM:
    """Load a model into vLLM.

    Raises:
        ModelError: If vLLM is not installed, or the model is an adapter alone.
    """
    # Its engine is another process, which forked would not get the GPU that this one has asked about.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    try:
        from vllm import LLM
    except ImportError:
        raise ModelError(
            "--backend vllm needs vLLM. Install it, and Needlework again after it: docs/backends.md, vLLM."
        ) from None
    if adapted_by(name):
        raise ModelError(f"{name} is an adapter alone, which --backend vllm does not load. Merge it into its model.")
    return LLM(
        model=embedded.located(name),
        dtype={"fp32": "float32", "bf16": "bfloat16"}[precision],
        trust_remote_code=trust_remote_code,
        enable_prefix_caching=True,
        # The whole context where its cache fits the memory, else as much of it as does.
        max_model_len=-1,
        seed=0,
    )


class VLLMBackend:
    """Answers with a model that vLLM holds.

    Args:
        llm: The model.
        renderer: Its tokenizer and chat template.
    """

    concurrency = None

    def __init__(self, llm: LLM, renderer: Renderer) -> None:
        self.llm = llm
        self.renderer = renderer

    def batches(self, asks: Sequence[Ask], *, max_new_tokens: int) -> list[list[int]]:
        """Group the asks in token order, so that what prompts share is still in vLLM's cache."""
        ids = [self.renderer.prompt_ids(ask.haystack, ask.needle) for ask in asks]
        check_lengths(asks, ids, max_new_tokens, self.llm.llm_engine.model_config.max_model_len)
        order = sorted(range(len(asks)), key=ids.__getitem__)
        return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]

    def answer(self, asks: Sequence[Ask], *, max_new_tokens: int, stop: str | None) -> list[Answer]:
        """Answer one batch."""
        from vllm import SamplingParams, TokensPrompt

        prompts = [self.renderer.prompt_ids(ask.haystack, ask.needle) for ask in asks]
        end = self.renderer.end
        sampling = SamplingParams(
            temperature=0,
            max_tokens=max_new_tokens,
            stop=[stop] if stop else None,
            # It may be another than the model's end of sequence, which vLLM stops at anyway.
            stop_token_ids=None if end is None else [end],
        )
        results = self.llm.generate([TokensPrompt(prompt_token_ids=ids) for ids in prompts], sampling, use_tqdm=False)
        answers = []
        for ids, result in zip(prompts, results, strict=True):
            tokens = list(result.outputs[0].token_ids)
            # Decoded as `hf` does it, because vLLM's text may end elsewhere.
            text = str(self.renderer.tokenizer.decode(tokens, skip_special_tokens=True))
            answers.append(Answer(text.split(stop)[0] if stop else text, len(ids), len(tokens)))
        return answers
