"""What the script of the paper's own code writes: a file of training samples and one of evaluation samples.

The rules are those of github.com/edixiong/artificial-needles, commit b269b50: data-generation/scripts/task.py
(`DictRetrieval.build_data`, `get_mistral_entry`) and generate_dataset.py (`main`). That script draws from global
generators; here sample i of a split depends on the configuration, the seed, the split and i alone. So the
samples are not the same, but they follow the same distributions and have the same form.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from needlework.dataset.encoded import Encoded, encode
from needlework.dataset.shards import find_manifest, is_whole
from needlework.errors import BudgetError, DataError, RecipeError
from needlework.haystack import Haystack
from needlework.models.chat import Renderer
from needlework.models.loading import load_tokenizer, tokenizer_fingerprint
from needlework.official.config import Config, load, parse
from needlework.progress import Progress, Silent
from needlework.storage import difference, write_chunks, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPLITS = ("train", "eval")
REDUNDANCY = 100
"""Tokens of `max_token` that the prompt must leave free (task.py, `within_maxtoken`)."""
ATTEMPTS = 1000
"""Draws of a sample before the script gives up (task.py, `build_data`)."""
FRONT = 0.05
"""The front is this fraction of the split's number of samples, not of dictionaries (generate_dataset.py, `main`)."""


def gold_positions(config: Config, size: int, rng: np.random.Generator) -> list[int]:
    """Draw the places of a split's gold dictionaries: uniform, except for fixed numbers of samples.

    As in generate_dataset.py, `int(size * frac_0)` samples get place 0, and `int(size * frac_top5)` others get one of
    the first `int(size * 0.05)` places, a number of dictionaries that is derived from the number of samples.

    Raises:
        RecipeError: If these numbers do not fit.
    """
    count = config.data_kwargs.num_dicts
    first, forced, front = int(size * config.frac_0), int(size * config.frac_top5), int(size * FRONT)
    if first + forced > size:
        raise RecipeError(f"frac_0 and frac_top5 take {first + forced} of {size} samples. Lower them.")
    if forced and not 1 <= front <= count:
        raise RecipeError(
            f"frac_top5 puts the gold among the first {front} dictionaries, 5 % of {size} samples, but there are "
            f"{count}. Set it to 0, or change the number of samples."
        )
    places = rng.integers(count, size=size)
    order = rng.permutation(size)
    places[order[:first]] = 0
    places[order[first : first + forced]] = rng.integers(front, size=forced) if forced else 0
    return list(places.tolist())


@dataclass
class Split:
    """The samples of a split. Sample `i` depends on the configuration, the seed, the split and `i` alone.

    Args:
        config: What to make.
        name: `train` or `eval`.
        seed: Seed of the dataset.
        count: Counts the tokens of a prompt.
    """

    config: Config
    name: str
    seed: int
    count: Callable[[str], int]

    def __post_init__(self) -> None:
        self.size = self.config.num_train if self.name == "train" else self.config.num_eval
        self._task = self.config.task()
        self._positions = gold_positions(self.config, self.size, self._rng())

    def __len__(self) -> int:
        return self.size

    @property
    def file(self) -> str:
        """The file name that the script would use."""
        return f"{self.config.alias}_seed{self.seed}_{self.name}_{self.size}.jsonl"

    def sample(self, index: int) -> tuple[dict[str, Any], int]:
        """Return a sample as the script writes it, and how often it was redrawn."""
        haystack, again = self.haystack(index)
        (needle,) = haystack.needles
        user = {"role": "user", "content": haystack.message(needle)}
        return {"messages": [user, {"role": "assistant", "content": needle.answer}]}, again

    def haystack(self, index: int) -> tuple[Haystack, int]:
        """Return a sample as a haystack, and how often it was redrawn because it was too long.

        Raises:
            UserError: If it does not fit `max_token` however often it is drawn, or cannot be made at all.
        """
        num_dicts, limit = self.config.data_kwargs.num_dicts, self.config.task_kwargs.max_token - REDUNDANCY
        depth = self._positions[index] / max(1, num_dicts - 1)
        for attempt in range(ATTEMPTS):
            draft = self._task.draft(self._rng(index, attempt), num_dicts, depths=(depth,))
            haystack = draft.haystack(num_dicts, str(index))
            if (tokens := self.count(haystack.message(haystack.needles[0]))) < limit:
                return haystack, attempt
        raise BudgetError(
            f"{num_dicts} dictionaries never took fewer than max_token - {REDUNDANCY} = {limit} tokens in {ATTEMPTS} "
            f"draws; the last took {tokens}. Raise max_token, lower num_dicts, or count with another --model.",
            tokens + REDUNDANCY + 1,
        )

    def _rng(self, *sample: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, SPLITS.index(self.name), *sample])


class Samples:
    """The samples of both splits as haystacks, in the order of the files, for inspecting them later."""

    def __init__(self, splits: Sequence[Split], renderer: Renderer) -> None:
        self._samples = [(split, index) for split in splits for index in range(len(split))]
        self._renderer = renderer

    def __getitem__(self, index: int) -> Haystack:
        split, number = self._samples[index]
        return split.haystack(number)[0]

    def encoded(self, index: int) -> list[Encoded]:
        """Return the one row of a sample, with the model's chat template."""
        return encode(self[index], self._renderer)


def samples(settings: Mapping[str, Any]) -> Samples:
    """Return the samples again, from the settings in their manifest.

    Raises:
        UserError: If the settings hold no valid configuration, or the tokenizer is not available.
    """
    tokenizer = load_tokenizer(settings["model"]["name"])
    config = parse(settings["official"], "the manifest")
    return Samples(_splits(config, settings["seed"], tokenizer), Renderer(tokenizer))


def generate(
    path: Path, output: Path, *, seed: int = 0, model: str = "smollm2-135m", progress: Progress | None = None
) -> dict[str, Any]:
    """Write the splits of a configuration file, then their manifest `ALIAS_seedN.json`, and return the manifest.

    Args:
        path: The configuration file.
        output: Folder to write to; it may hold the files of other configurations and seeds.
        seed: Seed of the dataset.
        model: The model whose tokenizer counts the tokens of a prompt, without chat template, as in the script.
        progress: Where to show progress; by default nowhere.

    Raises:
        DataError: If the folder holds files of these names that were made with other settings, or a damaged one.
        UserError: If the configuration or the model cannot be read, or the samples cannot be made.
    """
    progress, config = progress or Silent(), load(path)
    tokenizer = load_tokenizer(model)
    settings = {
        "format": "messages",
        "seed": seed,
        "official": config.model_dump(mode="json"),
        "model": {"name": model, "tokenizer": tokenizer_fingerprint(tokenizer)},
        "needlework": importlib.metadata.version("needlework"),
    }
    manifest = output / f"{config.alias}_seed{seed}.json"
    found = find_manifest(manifest) or {"settings": settings, "files": {}}
    if other := difference(found["settings"], settings):
        raise DataError(f"{manifest} is of other settings: {other}. Give another --output.")
    splits = _splits(config, seed, tokenizer)
    files = {name: entry for name, entry in found["files"].items() if is_whole(output / name, entry)}
    todo = [split for split in splits if split.file not in files]
    if not todo:
        return found
    total = sum(map(len, splits))
    drawn = count(total - sum(map(len, todo)) + 1)
    with progress.bar("generate") as update:
        for split in todo:
            files[split.file] = _write(split, output, lambda: update(next(drawn), total))
    ordered = {split.file: files[split.file] for split in splits}
    written = {"settings": settings, "haystacks": total, "rows": total, "files": ordered}
    write_json(manifest, written)
    return written


def _write(split: Split, folder: Path, report: Callable[[], None]) -> dict[str, Any]:
    """Write the file of a split and return its entry in the manifest.

    Raises:
        DataError: If a file of that name has other contents, such as one that the script wrote.
    """
    lines, redrawn = [], 0
    for index in range(len(split)):
        row, again = split.sample(index)
        lines.append(json.dumps(row) + "\n")
        redrawn += again
        report()
    content, path = "".join(lines).encode(), folder / split.file
    if path.exists() and path.read_bytes() != content:
        raise DataError(
            f"{path} differs from what this command writes, and no manifest explains it. "
            f"Give another --output, or delete it."
        )
    write_chunks(path, [content])
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "rows": len(split),
        "redrawn": redrawn,
    }


def _splits(config: Config, seed: int, tokenizer: PreTrainedTokenizerBase) -> list[Split]:
    return [Split(config, name, seed, lambda prompt: len(tokenizer(prompt)["input_ids"])) for name in SPLITS]
