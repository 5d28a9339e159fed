"""One loader for every model: the embedded one by name, a local folder, or a Hugging Face id."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from yaml import YAMLError

from needlework.errors import HubError, ModelError
from needlework.models import embedded

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Precision = Literal["fp32", "bf16"]


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model, with its chat template; that of the embedded model without unpacking it.

    Raises:
        ModelError: If there is no such model, or it cannot be read.
    """
    from transformers import AutoTokenizer

    source = name
    if (base := adapted_by(name)) and not (folder_of(name) / "tokenizer_config.json").is_file():
        # PEFT saves an adapter without one.
        source = base
    if source == embedded.NAME:
        with quiet():
            return embedded.read_tokenizer()
    tokenizer: PreTrainedTokenizerBase
    tokenizer = _load(AutoTokenizer.from_pretrained, source, trust_remote_code=trust_remote_code)
    return tokenizer


def folder_of(name: str) -> Path:
    """Return where a model is if it is a local folder."""
    # Path's own expanduser fails where there is no such user.
    return Path(os.path.expanduser(name))


def load_config(name: str, *, trust_remote_code: bool = False) -> PreTrainedConfig:
    """Load the configuration of a model, without its weights; of an adapter, that of the model it adapts.

    That of the embedded model is read without unpacking it.

    Raises:
        ModelError: If there is no such model, or it cannot be read.
    """
    from transformers import AutoConfig

    source = adapted_by(name) or name
    if source == embedded.NAME:
        with quiet():
            return embedded.read_config()
    config: PreTrainedConfig = _load(AutoConfig.from_pretrained, source, trust_remote_code=trust_remote_code)
    return config


def load_model(
    name: str, *, precision: Precision = "fp32", trust_remote_code: bool = False, place: bool = True
) -> PreTrainedModel:
    """Load a causal language model.

    Args:
        name: `smollm2-135m`, a folder, or a Hugging Face id. A folder with a LoRA adapter alone gives the model
            that it adapts, with the adapter merged in fp32: the same weights as saving it merged would have given.
        precision: The type of its weights.
        trust_remote_code: Run Python code that comes with the model. Off unless you trust its author.
        place: Put it on the GPU if there is one; otherwise it stays where it was read to.

    Raises:
        ModelError: If there is no such model, or it cannot be read.
    """
    import torch
    from transformers import AutoModelForCausalLM

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model: PreTrainedModel
    if base := adapted_by(name):
        model = _load_adapted(base, name, trust_remote_code).to(dtype)  # type: ignore[arg-type]
    else:
        model = _load(AutoModelForCausalLM.from_pretrained, name, trust_remote_code=trust_remote_code, dtype=dtype)
    if place and torch.cuda.is_available():
        model.to("cuda")  # type: ignore[arg-type]
    return model


def adapted_by(name: str) -> str | None:
    """Return the model that a folder with a LoRA adapter alone adapts; None for all other models.

    Raises:
        ModelError: If the adapter does not name it.
    """
    path = folder_of(name) / "adapter_config.json"
    if not path.is_file():
        return None
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, TypeError, KeyError):
        base = None
    if not isinstance(base, str) or not base:
        raise ModelError(f"{path} does not name the model it adapts. Give its base_model_name_or_path there.")
    return base


def _load_adapted(base: str, name: str, trust_remote_code: bool) -> PreTrainedModel:
    from peft import PeftModel

    try:
        model = load_model(base, trust_remote_code=trust_remote_code, place=False)
    except ModelError as error:
        raise ModelError(
            f"{name} is an adapter: {error} If that model is elsewhere, give its place as base_model_name_or_path in "
            f"the adapter's adapter_config.json."
        ) from None

    def merged(path: str) -> Any:
        if (folder_of(path) / "tokenizer_config.json").is_file():
            # An adapter may come with further tokens, as PEFT's own classes know.
            size = len(load_tokenizer(path, trust_remote_code=trust_remote_code))
            if size > cast(Any, model.get_input_embeddings()).weight.shape[0]:
                model.resize_token_embeddings(size)
        adapted = PeftModel.from_pretrained(model, path)
        if adapted.active_peft_config.is_prompt_learning:
            raise ValueError("it is an adapter of prompts, which no weights can hold. Those of LoRA can be merged.")
        return adapted.merge_and_unload()

    return cast("PreTrainedModel", _load(merged, name))


INSIDE = ("train/model", "model")
"""Where the folder of a run has its model, and that of its training."""


def _load(from_pretrained: Any, name: str, **options: Any) -> Any:
    path = embedded.located(name)
    looks_local = os.sep in path and (path.startswith((".", os.sep, "~")) or path.count("/") != 1)
    folder = folder_of(path)
    if looks_local and not folder.is_dir():
        raise ModelError(f"there is no model folder {path}. Give a folder, a Hugging Face id or {embedded.NAME}.")
    # Of an adapter it is adapter_config.json, and of a tokenizer alone tokenizer_config.json.
    if folder.is_dir() and not any(folder.glob("*config.json")):
        inside = next((f" That of a run is in {folder / each}." for each in INSIDE if (folder / each).is_dir()), "")
        raise ModelError(f"the folder {path} holds no model: it has no config.json.{inside}")
    try:
        with quiet():
            return from_pretrained(str(folder) if looks_local else path, **options)
    except Exception as error:
        # Each library has its own errors for a file that it cannot read or that does not fit the others.
        first, *others = str(error).strip().splitlines() or [type(error).__name__]
        # The reason follows a colon, as where torch lists matrices of another shape.
        reason = others[-1].strip() if others and first.endswith(":") else first
        if "ignore_mismatched_sizes" in reason:
            reason = "its weights are not of the sizes that its config.json gives."
        kind = HubError if isinstance(error, OSError) and not folder.is_dir() else ModelError
        raise kind(f"cannot load the model {name!r}: {reason}") from None


def license_of(name: str) -> dict[str, str]:
    """Return the license that a model's own card gives, under the card's keys; nothing where it gives none."""
    from huggingface_hub import ModelCard
    from huggingface_hub.errors import EntryNotFoundError

    if name == embedded.NAME:
        return {"license": embedded.LICENSE}
    folder = folder_of(name)
    try:
        with quiet():
            card = ModelCard.load(folder / "README.md" if folder.is_dir() else name)
    except (OSError, ValueError, EntryNotFoundError, YAMLError):
        # No card, no network, or a card that cannot be read: not worth a training that has just been finished.
        return {}
    given = {key: getattr(card.data, key, None) for key in ("license", "license_name", "license_link")}
    return {key: value for key, value in given.items() if isinstance(value, str)}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the loaders' own progress bars and notes, which would break ours; afterwards they are as they were."""
    from transformers.utils import logging as notes

    hub = logging.getLogger("huggingface_hub")
    before, level, has_bars = notes.get_verbosity(), hub.level, notes.is_progress_bar_enabled()
    notes.set_verbosity_error()
    notes.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # PEFT asks a model of transformers by an old name.
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            yield
    finally:
        notes.set_verbosity(before)
        hub.setLevel(level)
        if has_bars:
            notes.enable_progress_bar()


@cache
def fastest_precision() -> Precision:
    """Return the faster of fp32 and bf16 matrix products on this machine.

    A GPU is faster in bf16 where it has it; those before Ampere only imitate it. CPUs differ: many have bf16
    instructions that are no faster than fp32, so a product of a small model's shape is timed in both.
    """
    import time

    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    shapes, dtypes = ((1024, 576), (576, 1536)), (torch.float32, torch.bfloat16)
    factors = {dtype: [torch.ones(shape, dtype=dtype) for shape in shapes] for dtype in dtypes}
    times: dict[torch.dtype, list[float]] = {dtype: [] for dtype in dtypes}
    for _ in range(12):
        for dtype in dtypes:
            start = time.perf_counter()
            torch.mm(*factors[dtype])
            times[dtype].append(time.perf_counter() - start)
    # The quickest of each: other programs only make them slower. bf16 rounds, so it has to earn its place.
    return "bf16" if min(times[torch.bfloat16]) < 0.8 * min(times[torch.float32]) else "fp32"


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a hash of what a tokenizer makes of a chat: its vocabulary, rules and chat template."""
    if tokenizer.is_fast:
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
        # These change from call to call.
        rules |= {"truncation": None, "padding": None}
    else:
        rules = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
    specials = [str(tokenizer.bos_token), str(tokenizer.eos_token)]
    text = json.dumps([rules, tokenizer.chat_template, specials], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint(name: str) -> str | None:
    """Return a hash of a local model's weight files, from their sizes, beginnings and ends; None for others."""
    folder = folder_of(name)
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            digest.update(file.read(1 << 20))
            file.seek(max(0, size - (1 << 20)))
            digest.update(file.read())
    return digest.hexdigest()[:16]


def content(name: str) -> str | None:
    """Return a key that changes with a model's files, or None if none is known.

    Of a folder it is a hash of its files, with that of the model that an adapter adapts; of a model of the hub, its
    name and commit.
    """
    source = embedded.folder() if name == embedded.NAME else folder_of(name)
    if not source.is_dir():
        commit = getattr(load_config(name), "_commit_hash", None)
        return f"{name}@{commit}" if commit else None
    digest = hashlib.sha256()
    for path in sorted(path for path in source.iterdir() if path.is_file() and path.name != "README.md"):
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    if base := adapted_by(name):
        adapted = content(base)
        return adapted and f"{digest.hexdigest()} on {adapted}"
    return digest.hexdigest()
