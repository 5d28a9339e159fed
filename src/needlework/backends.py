"""The backends that load a model in this process, what their answers depend on, and where those are kept."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from needlework.recipe import Model

if TYPE_CHECKING:
    from needlework.inference.backend import Backend
    from needlework.inference.cache import AnswerCache
    from needlework.models.chat import Renderer

Kind = Literal["hf", "vllm"]


@dataclass(frozen=True, slots=True)
class Asking:
    """How a model is asked."""

    backend: Kind = "hf"
    """What it is loaded into."""
    cache: bool = True
    """Take the answers that it gave in earlier runs, and keep those of this one."""
    skip_too_long: bool = False
    """Leave prompts out that exceed its context, and count them."""


PACKAGES = {"hf": ("torch", "transformers"), "vllm": ("vllm", "torch", "transformers")}
"""Packages whose versions answers may depend on, in addition to ours."""


def load(kind: Kind, model: Model, renderer: Renderer) -> Backend:
    """Load a model into a backend.

    Raises:
        ModelError: If the model or the backend is not there.
    """
    options: dict[str, Any] = {"precision": model.precision, "trust_remote_code": model.trust_remote_code}
    if kind == "vllm":
        from needlework.inference import vllm

        return vllm.VLLMBackend(vllm.load(model.name, **options), renderer)
    from needlework.inference.hf import HFBackend
    from needlework.models.loading import load_model

    return HFBackend(load_model(model.name, **options), renderer)


def describe(kind: str, *packages: str) -> dict[str, str]:
    """Return a backend and its versions, as they are recorded with its answers."""
    return {"backend": kind} | {name: _version(name) for name in ("needlework", *packages)}


def measuring(asking: Asking, model: Model, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the other arguments of `evaluation.run_benchmarks`, for a model that is loaded in this process."""

    def answered_by() -> dict[str, str]:
        import torch

        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        return describe(asking.backend, *PACKAGES[asking.backend]) | {"dtype": model.precision, "device": device}

    def kept() -> AnswerCache | None:
        from needlework.inference.cache import AnswerCache, default_folder

        identity = _identity(model) if asking.cache else None
        return AnswerCache(default_folder(), identity | answered_by(), say) if identity else None

    return {"answered_by": answered_by, "cache": kept, "skip_too_long": asking.skip_too_long}


def _identity(model: Model) -> dict[str, Any] | None:
    """Return the model's part of the cache key: weights, tokenizer, system message and our code.

    None if the weights cannot be identified.
    """
    from needlework.models.loading import content, load_tokenizer, tokenizer_fingerprint

    # Code that comes with a model may do anything.
    weights = None if model.trust_remote_code else content(model.name)
    if weights is None:
        return None
    tokenizer = tokenizer_fingerprint(load_tokenizer(model.name))
    return {"model": weights, "tokenizer": tokenizer, "system": model.system, "code": _code()}


def _code() -> str:
    """Return a hash of the code that asks and answers, which may change in a checkout while its version does not."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in (*sorted(root.glob("inference/*.py")), *sorted(root.glob("models/*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # Some builds have another package name, such as vLLM's for CPUs; the imported module knows its version.
        return str(getattr(sys.modules.get(package), "__version__", "not installed"))
