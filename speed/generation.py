"""How fast haystacks are made: `python -m speed.generation`, a few minutes. The table is in docs/speed.md.

Each line is one case with one tokenizer: what a sample costs here, from the recipe to files with checksums, and what
it costs a peer that writes JSONL, both on one core unless it says otherwise. Tokenizers are loaded and warm on both
sides; that of Mistral v1 is the fastest for the peers. Runs of the two alternate, medians are compared. Beside it is
what Parquet and the checksum take for samples that are made already, and the disk for the same bytes, written and
flushed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from needlework.dataset.encoded import Encoded
from needlework.dataset.export import export
from needlework.dataset.formats import make_format, tokens
from needlework.dataset.synthetic import SyntheticDataset
from needlework.dataset.workers import Workers, processes, serial
from needlework.models.chat import Renderer
from needlework.models.loading import load_tokenizer
from needlework.tasks import make_task
from speed import growing_generator, official_generator

RUNS = 5
MADE = 256
"""Samples that are made before they are written."""
WORKERS = 2


@dataclass(frozen=True)
class Case:
    """What is made, and by whom else."""

    name: str
    max_tokens: int
    format: str
    samples: int
    peer: Callable[[int, int, PreTrainedTokenizerBase], Iterator[dict[str, Any]]]
    """From a number of samples, a seed and a tokenizer to rows of messages."""
    peer_samples: int
    workers: Workers = serial


def _official(count: int, seed: int, tokenizer: PreTrainedTokenizerBase) -> Iterator[dict[str, Any]]:
    return official_generator.generate(count, seed, tokenizer)


def _growing(count: int, seed: int, tokenizer: PreTrainedTokenizerBase) -> Iterator[dict[str, Any]]:
    return growing_generator.generate(count, seed, tokenizer, min_tokens=32_300, max_tokens=32_768)


CASES = (
    Case("4K, tokens, official generator", 4096, "tokens", 8192, _official, 100),
    # So many that starting the processes does not count.
    Case("the same with two workers", 4096, "tokens", 1 << 17, _official, 100, processes(WORKERS)),
    Case("4K, messages, official generator", 4096, "messages", 2048, _official, 100),
    Case("32K, tokens, growing generator", 32_768, "tokens", 256, _growing, 1),
)


def main() -> None:
    """Print a table of all cases and tokenizers."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    print(f"{'case':34}{'tokenizer':13}{'ours, ms':>10}{'peer, ms':>10}{'ratio':>8}", end="")
    print(f"{'Parquet, ms':>13}{'disk, ms':>10}{'ours/disk':>11}")
    for name, tokenizer in tokenizers().items():
        for case in CASES:
            ours, peer, disk = measure(case, tokenizer)
            parquet = f"{written(case, tokenizer) * 1e3:13.3f}" if case.format == "tokens" else f"{'':13}"
            figures = f"{ours * 1e3:10.3f}{peer * 1e3:10.2f}{peer / ours:8.0f}{parquet}{disk * 1e3:10.3f}"
            print(f"{case.name:34}{name:13}{figures}{ours / disk:11.1f}", flush=True)


def tokenizers() -> dict[str, PreTrainedTokenizerBase]:
    """Return the embedded model's tokenizer, and others where the packages that the tests read them from are there."""
    found: dict[str, PreTrainedTokenizerBase] = {"smollm2": load_tokenizer("smollm2-135m")}
    try:
        from tests.real_tokenizers import real_tokenizer
    except ImportError:
        return found
    return found | {name: real_tokenizer(name).fast for name in ("mistral-v1",)}


def measure(case: Case, tokenizer: PreTrainedTokenizerBase, runs: int = RUNS) -> tuple[float, float, float]:
    """Return seconds a sample of ours, of the peer, and of the disk for the bytes of ours; each a median."""
    data = SyntheticDataset(make_task("simple_dict"), case.samples, 1, case.max_tokens, Renderer(tokenizer))
    with tempfile.TemporaryDirectory(dir=".") as folder:
        root = Path(folder)
        for _ in data.encoded_many(range(100)):
            pass
        next(case.peer(1, 0, tokenizer))
        times = []
        for run in range(runs):
            times.append(_run(case, data, root / str(run), run, tokenizer))
            shutil.rmtree(root / str(run))
    ours, peer, disk = map(median, zip(*times, strict=True))
    return ours / case.samples, peer / case.peer_samples, disk / case.samples


@dataclass(frozen=True)
class _Made:
    """A dataset whose samples are made already."""

    samples: list[list[Encoded]]

    def encoded_many(self, indices: range) -> Iterator[list[Encoded]]:
        return iter(self.samples[indices.start : indices.stop])


def written(case: Case, tokenizer: PreTrainedTokenizerBase, runs: int = RUNS) -> float:
    """Return the seconds a sample that Parquet and the checksum take, on one core; a median."""
    data = SyntheticDataset(make_task("simple_dict"), MADE, 1, case.max_tokens, Renderer(tokenizer))
    made = cast(SyntheticDataset, _Made(list(data.encoded_many(range(MADE)))))

    def write() -> None:
        for content in tokens.write(made, range(MADE)).contents.values():
            hashlib.sha256(content).digest()

    write()
    return median(_timed(write) for _ in range(runs)) / MADE


def _run(
    case: Case, data: SyntheticDataset, folder: Path, seed: int, tokenizer: PreTrainedTokenizerBase
) -> tuple[float, float, float]:
    def peer() -> None:
        official_generator.write_jsonl(case.peer(case.peer_samples, seed, tokenizer), folder / "peer.jsonl")

    ours = _timed(lambda: _ours(case, data, folder))
    theirs = _timed(peer)
    shards = [path.read_bytes() for path in (folder / "data").iterdir()]
    shutil.rmtree(folder / "data")
    return ours, theirs, _timed(lambda: _flushed(folder / "same-bytes", shards))


def _ours(case: Case, data: SyntheticDataset, folder: Path) -> None:
    export(data, make_format(case.format), folder, {}, case.workers)


def _flushed(path: Path, contents: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for content in contents:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _timed(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
