"""The formats that datasets are written in."""

from __future__ import annotations

from needlework.dataset.formats import jsonl, megatron, openai, tokens, trainers
from needlework.dataset.formats.base import Format
from needlework.errors import UserError

FORMATS = {
    "trl": Format("JSONL, prompt and completion, for TRL's SFTTrainer", ("jsonl",), jsonl.prompt_completion),
    "messages": Format("JSONL, chats of user and assistant", ("jsonl",), jsonl.messages),
    "openai": Format(
        "JSONL, one file of chats that keeps OpenAI's rules for finetuning",
        ("jsonl",),
        jsonl.messages,
        openai.finish,
        joined=True,
        check=openai.check,
    ),
    "tokens": Format("Parquet, token ids with labels and the spans of the needles", ("parquet",), tokens.write),
    "megatron": Format(
        "Megatron's .bin and .idx, with the loss mask as another pair",
        ("bin", "mask", "lengths"),
        megatron.write,
        megatron.finish,
        joined=True,
    ),
    "axolotl": Format(
        "JSONL of chats with a configuration for Axolotl",
        ("jsonl",),
        jsonl.messages,
        trainers.axolotl,
        configures=True,
        check=trainers.check,
    ),
    "llamafactory": Format(
        "JSONL of chats with a configuration for LLaMA-Factory",
        ("jsonl",),
        jsonl.messages,
        trainers.llamafactory,
        configures=True,
        check=trainers.check,
    ),
}


def make_format(name: str) -> Format:
    """Return the format with this name.

    Raises:
        UserError: If there is none; lists those there are.
    """
    if name not in FORMATS:
        raise UserError(f"there is no format {name!r}. Known: {', '.join(FORMATS)}.")
    return FORMATS[name]
