"""What the script of the paper's own code writes: a file of training samples and one of evaluation samples.

The rules are those of github.com/edixiong/artificial-needles, commit b269b50: data-generation/scripts/task.py
(`DictRetrieval.build_data`, `get_mistral_entry`) and generate_dataset.py (`main`). That script draws from global
generators; here sample i of a split depends on the configuration, the seed, the split and i alone. So the
samples are not the same ones, but of the same distributions and in the same form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from needlework.errors import BudgetError, DataError, RecipeError
from needlework.official.config import Config, load
from needlework.progress import Progress, Silent
from needlework.storage import write_json, write_text

SPLITS = ("train", "eval")
REDUNDANCY = 100
"""Tokens of `max_token` that the prompt must leave free (task.py, `within_maxtoken`)."""
ATTEMPTS = 1000
"""Draws of a sample before the script gives up (task.py, `build_data`)."""
FRONT = 0.05
"""What the front is a fraction of are the samples of the split (generate_dataset.py, `main`)."""


def gold_positions(config: Config, size: int, rng: np.random.Generator) -> list[int]:
    """Draw the places of the gold dictionaries of a split: uniform, but for exact numbers of samples.

    As generate_dataset.py does it: `int(size * frac_0)` samples take place 0, and `int(size * frac_top5)` others
    one of the first `int(size * 0.05)`, a number of dictionaries that goes by the number of samples.

    Raises:
        RecipeError: If these do not fit.
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
        """The name that the script gives the file."""
        return f"{self.config.alias}_seed{self.seed}_{self.name}_{self.size}.jsonl"

    def sample(self, index: int) -> tuple[dict[str, Any], int]:
        """Return a sample as the script writes it, and how often it was drawn again because it was too long.

        Raises:
            UserError: If it does not fit `max_token` however often it is drawn, or cannot be made at all.
        """
        num_dicts, limit = self.config.data_kwargs.num_dicts, self.config.task_kwargs.max_token - REDUNDANCY
        depth = self._positions[index] / max(1, num_dicts - 1)
        for attempt in range(ATTEMPTS):
            draft = self._task.draft(self._rng(index, attempt), num_dicts, depths=(depth,))
            haystack = draft.haystack(num_dicts, str(index))
            (needle,) = haystack.needles
            prompt = haystack.message(needle)
            if (tokens := self.count(prompt)) < limit:
                messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": needle.answer}]
                return {"messages": messages}, attempt
        raise BudgetError(
            f"{num_dicts} dictionaries never took fewer than max_token - {REDUNDANCY} = {limit} tokens in {ATTEMPTS} "
            f"draws; the last took {tokens}. Raise max_token, lower num_dicts, or count with another --model."
        )

    def _rng(self, *sample: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, SPLITS.index(self.name), *sample])


def generate(
    path: Path, output: Path, *, seed: int = 0, model: str = "smollm2-135m", progress: Progress | None = None
) -> Path:
    """Write the splits of a configuration file, and then their manifest.

    Args:
        path: The configuration file.
        output: Where to write; it may hold the files of other configurations and seeds.
        seed: Seed of the dataset.
        model: Whose tokenizer counts the tokens of a prompt, without chat template, as the script does.
        progress: Where to show progress; by default nowhere.

    Returns:
        The path of the manifest.

    Raises:
        DataError: If the folder holds files of these names that were made otherwise.
        UserError: If the configuration or the model cannot be read, or the samples cannot be made.
    """
    from needlework.models import embedded
    from needlework.models.loading import load_tokenizer

    progress, config = progress or Silent(), load(path)
    settings = {"config": config.model_dump(mode="json"), "seed": seed, "model": model}
    manifest = output / f"{config.alias}_seed{seed}.json"
    if manifest.exists():
        if json.loads(manifest.read_text(encoding="utf-8"))["settings"] != settings:
            raise DataError(f"{manifest} is of another configuration or model. Give another --output.")
        return manifest
    if notice := embedded.notice(model):
        progress.say(notice)
    tokenizer = load_tokenizer(model)
    splits = [Split(config, name, seed, lambda prompt: len(tokenizer(prompt)["input_ids"])) for name in SPLITS]
    done, total, files = 0, sum(map(len, splits)), {}
    with progress.bar("generate") as update:
        for split in splits:
            lines, redrawn = [], 0
            for index in range(len(split)):
                row, again = split.sample(index)
                lines.append(json.dumps(row) + "\n")
                redrawn += again
                done += 1
                update(done, total)
            text = "".join(lines)
            write_text(output / split.file, text)
            digest = hashlib.sha256(text.encode()).hexdigest()
            files[split.file] = {"rows": len(split), "redrawn": redrawn, "sha256": digest}
    write_json(manifest, {"settings": settings, "files": files})
    return manifest
