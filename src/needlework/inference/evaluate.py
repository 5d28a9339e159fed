"""Asking a backend the needles of a benchmark, and recording each answer as it comes."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from needlework.errors import DataError
from needlework.haystack import Haystack, Needle, Prediction, from_json, to_json, write
from needlework.inference.backend import Answer, Ask, Backend
from needlework.memory import release

Score = Callable[[Needle, str], dict[str, bool]]


def evaluate(
    backend: Backend,
    haystacks: Sequence[Haystack],
    score: Score,
    path: Path,
    *,
    max_new_tokens: int,
    stop: str | None = None,
    places: Mapping[str, str] | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Prediction]:
    """Ask every needle and return the predictions, in the order of the haystacks.

    Answers are on disk after each batch, in `path` with the suffix `.partial`; after a kill the batches
    that are complete there are not asked again. `path` itself appears when all are answered, and then
    is what is returned.

    Args:
        backend: Answers the prompts.
        haystacks: The benchmark's haystacks.
        score: From a needle and an output to scores by name, the one that counts first.
        path: The predictions file.
        max_new_tokens: Longest answer.
        stop: An answer may end where this appears.
        places: The tabulated gold position of each needle by id.
        report: Called with the number of answered and of all needles.

    Raises:
        DataError: If the partial file holds other needles than those asked.
    """
    asks = [Ask(haystack, needle) for haystack in haystacks for needle in haystack.needles]
    if len({ask.needle.id for ask in asks}) < len(asks):
        raise DataError("two needles have the same id: a length or position is given twice, or the file repeats one.")
    partial = path.with_name(path.name + ".partial")
    found = {each.id: each for each in _recover(path if path.exists() else partial)}
    if stray := found.keys() - {ask.needle.id for ask in asks}:
        raise DataError(f"{partial} answers needles that are not asked, such as {min(stray)!r}. Delete it.")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        batches = backend.batches(asks, max_new_tokens=max_new_tokens)
        # A batch that a kill cut off is asked again as a whole: its answers may depend on its shape.
        whole = [batch for batch in batches if all(asks[index].needle.id in found for index in batch)]
        found = {asks[index].needle.id: found[asks[index].needle.id] for batch in whole for index in batch}
        write(found.values(), partial)
        report(len(found), len(asks))
        with partial.open("a", encoding="utf-8") as file:
            for batch in batches:
                if batch in whole:
                    continue
                batch_asks = [asks[index] for index in batch]
                answers = backend.answer(batch_asks, max_new_tokens=max_new_tokens, stop=stop)
                for ask, answer in zip(batch_asks, answers, strict=True):
                    prediction = _predict(ask, answer, score, places or {})
                    found[prediction.id] = prediction
                    file.write(to_json(prediction) + "\n")
                file.flush()
                os.fsync(file.fileno())
                # A batch's cache is part of a cycle, which would keep its gigabyte until Python happens to look.
                gc.collect()
                release()
                report(len(found), len(asks))
        predictions = [found[ask.needle.id] for ask in asks]
        write(predictions, path)
    partial.unlink(missing_ok=True)
    return [found[ask.needle.id] for ask in asks]


def _predict(ask: Ask, answer: Answer, score: Score, places: Mapping[str, str]) -> Prediction:
    haystack, needle = ask.haystack, ask.needle
    (_, hit), *others = score(needle, answer.output).items()
    return Prediction(
        id=needle.id,
        haystack=haystack.id,
        group=needle.group,
        question=needle.question,
        accepted=needle.accepted,
        gold=haystack.items[needle.position] if needle.position >= 0 else "",
        position=needle.position,
        place=places.get(needle.id, ""),
        length=haystack.meta.get("length"),
        prompt_tokens=answer.prompt_tokens,
        output=answer.output,
        hit=hit,
        extra=dict(others),
    )


def _recover(path: Path) -> list[Prediction]:
    """Read predictions up to the last whole line; a kill may have cut one off."""
    if not path.exists():
        return []
    predictions = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            predictions.append(from_json(Prediction, line))
        except DataError:
            break
    return predictions
