"""Benchmarks: sequences of haystacks with a scoring rule."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from needlework.haystack import Haystack, Needle

Half = Literal["train", "eval"]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Haystacks to ask, and how an answer is scored."""

    name: str
    haystacks: Sequence[Haystack]
    score: Callable[[Needle, str], dict[str, bool]]
    """From a needle and a model's output to scores by name, the one that counts first."""
    titles: dict[str, str]
    """What each score means, for tables and charts."""
    max_new_tokens: int
    stop: str | None = None
    """Generation may end where this appears, because scoring reads no further."""
    places: dict[str, str] | None = None
    """The tabulated gold position of each needle by id, where positions are compared."""


def embedded(name: str, half: Half | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of an embedded file (see `data/README.md`), of one half or of both."""
    path = files("needlework") / "data" / f"{name}.jsonl.gz"
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        row = json.loads(line)
        if half is None or row["half"] == half:
            yield row
