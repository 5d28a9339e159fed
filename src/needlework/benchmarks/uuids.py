"""Key-value retrieval as in *Lost in the Middle* (Liu et al.): UUIDs in a JSON object, and the official scoring.

The official files are not seeded; the generator here is. Prompt and scoring are the official ones
(`get_kv_retrieval_prompt`, `evaluate_kv_responses.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
import numpy.typing as npt

from needlework.benchmarks import Benchmark
from needlework.benchmarks.lost_in_the_middle import read_pairs
from needlework.errors import UserError
from needlework.haystack import Haystack, Needle
from needlework.tasks.dictionaries import at_depths
from needlework.tasks.draft import Arrangement, Asked, Draft
from needlework.tasks.placing import check

PREAMBLE = "Extract the value corresponding to the specified key in the JSON object below."
QUESTION = 'Key: "{key}"\nCorresponding value:'
# The object's braces and the line above it are parts of the first and the last item, so that items are pairs.
FIRST, OPENING, CLOSING, LAST = 'JSON data:\n{"', ' "', '",', '"}'
TITLES = {"value": "Key-value retrieval, UUIDs"}
MEANINGS = {"value": "the value stands anywhere in the answer"}
MAX_NEW_TOKENS = 100  # as the official scripts


@dataclass(frozen=True, slots=True)
class Uuids:
    """The task: pairs of UUIDs, of which the first are asked for."""

    def draft(
        self,
        rng: np.random.Generator,
        capacity: int,
        num_needles: int = 1,
        *,
        depths: Sequence[float] | None = None,
    ) -> Draft:
        """Draw pairs, and ask for one at each of the depths (see `needlework.tasks.protocol.Task`)."""
        check("uuid", capacity, num_needles, num_needles, depths)
        if depths is None:
            raise UserError("uuid asks at given depths alone. Give each needle one.")
        # Row by row, so that a larger draft begins with the smaller.
        rows = rng.integers(2**64, size=(capacity, 4), dtype=np.uint64)
        return _draft([(_uuid(row[:2]), _uuid(row[2:])) for row in rows], depths)

    def min_items(self, num_needles: int) -> int:
        """Return the fewest pairs that hold the needles."""
        return num_needles


def from_file(source: str, depths: Sequence[float], haystacks: int, seed: int) -> Benchmark:
    """Build the benchmark from an official file: each row is asked with its gold pair moved to each depth.

    Args:
        source: Path or address of a file such as `kv-retrieval-75_keys.jsonl.gz`.
        depths: Relative gold positions.
        haystacks: Rows, drawn by the seed.
        seed: Chooses the rows.

    Raises:
        UserError: If the file is malformed or has fewer rows.
    """
    rows = read_pairs(source)
    if haystacks > len(rows):
        raise UserError(f"{source} has {len(rows)} rows, fewer than the {haystacks} haystacks asked for.")
    made: list[Haystack] = []
    places: dict[str, str] = {}
    for index in np.random.default_rng(seed).permutation(len(rows))[:haystacks].tolist():
        row = rows[index]
        pairs = [(row.key, row.value), *row.others]
        for number, depth in enumerate(depths):
            haystack = _draft(pairs, (depth,)).haystack(len(pairs), f"kv/{row.line}/{number}")
            (needle,) = haystack.needles
            made.append(replace(haystack, needles=(replace(needle, group=f"kv/{row.line}"),)))
            places[needle.id] = f"{depth:.0%}"
    return Benchmark("kv", made, score, TITLES, MAX_NEW_TOKENS, places=places, meanings=MEANINGS)


def score(needle: Needle, output: str) -> dict[str, bool]:
    """Score the value, found where the output contains it anywhere."""
    return {"value": needle.accepted[0].lower() in output.lower()}


def _draft(pairs: Sequence[tuple[str, str]], depths: Sequence[float]) -> Draft:
    """Ask for the first of the pairs, one at each of the depths."""

    def arrange(num_items: int) -> Arrangement:
        places = at_depths(depths, num_items)
        needles = (
            Asked((QUESTION.format(key=key),), (value,), (value,), at)
            for (key, value), at in zip(pairs, places, strict=False)
        )
        return Arrangement(num_items, places, tuple(needles))

    contents = [f'{key}": "{value}' for key, value in pairs]
    return Draft("uuid", PREAMBLE, contents, arrange, OPENING, CLOSING, FIRST, LAST)


def _uuid(halves: npt.NDArray[np.uint64]) -> str:
    return str(UUID(bytes=halves.tobytes(), version=4))
