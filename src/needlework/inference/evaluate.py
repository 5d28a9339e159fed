"""Asking a backend the needles of a benchmark, and recording each answer as it comes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from needlework.errors import DataError
from needlework.haystack import Haystack, Needle, Prediction, to_json, write
from needlework.inference.answers import partial_file, read_finished, read_partial, write_skipped
from needlework.inference.backend import Answer, Ask, Backend, TooLongError
from needlework.inference.cache import AnswerCache
from needlework.memory import release

Score = Callable[[Needle, str], dict[str, bool]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The predictions of a benchmark, in the order of its haystacks, and which needles have none."""

    predictions: list[Prediction]
    kept: int = 0
    """How many of them are answers of an earlier run."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Why a needle was not answered, by its id."""


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
    cache: AnswerCache | None = None,
    skip_too_long: bool = False,
) -> Evaluation:
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
        cache: Answers of earlier runs, to which those of this one are added in the end.
        skip_too_long: Leave prompts out that exceed the model's context, and record which.

    Raises:
        DataError: If a file holds other needles than those asked, or a line of it is damaged.
        TooLongError: If a prompt exceeds the model's context; with `skip_too_long`, if all do.
    """
    asks = {needle.id: Ask(haystack, needle) for haystack in haystacks for needle in haystack.needles}
    if len(asks) < sum(len(haystack.needles) for haystack in haystacks):
        raise DataError("two needles have the same id: a length or position is given twice, or the file repeats one.")
    if path.exists():
        predictions, skipped = read_finished(path, asks)
        return Evaluation(predictions, skipped=skipped)

    def predict(ask: Ask, answer: Answer) -> Prediction:
        return _predict(ask, answer, score, (places or {}).get(ask.needle.id, ""))

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_file(path)
    recovered = read_partial(partial, asks)
    decoding: dict[str, Any] = {"max_new_tokens": max_new_tokens, "stop": stop}
    # Added to only in the end, so that a run that continues finds in it what it found when it began.
    kept = {id: answer for id, ask in asks.items() if cache and (answer := cache.find(ask, **decoding))}
    batches, skipped = _batches(backend, [asks[id] for id in asks if id not in kept], max_new_tokens, skip_too_long)
    found, todo = _divide(batches, recovered)
    write(found.values(), partial)
    report(len(kept) + len(found), len(asks))
    with partial.open("a", encoding="utf-8") as file:
        for batch, answers in _answers(backend, todo, decoding, skip_too_long):
            if isinstance(answers, TooLongError):
                skipped |= answers.needles
                continue
            for ask, answer in zip(batch, answers, strict=True):
                found[ask.needle.id] = predict(ask, answer)
                file.write(to_json(found[ask.needle.id]) + "\n")
            file.flush()
            os.fsync(file.fileno())
            report(len(kept) + len(found), len(asks))
    found |= {id: predict(asks[id], answer) for id, answer in kept.items()}
    if not found:
        raise TooLongError(skipped)
    predictions = [found[id] for id in asks if id in found]
    write_skipped(path, skipped)
    write(predictions, path)
    partial.unlink(missing_ok=True)
    if cache:
        new = [(asks[each.id], Answer(each.output, each.prompt_tokens, each.output_tokens)) for each in predictions]
        cache.add(new, **decoding)
    return Evaluation(predictions, len(kept), skipped)


def _batches(
    backend: Backend, asks: list[Ask], max_new_tokens: int, skip_too_long: bool
) -> tuple[list[list[Ask]], dict[str, str]]:
    """Return the batches to answer, and why a prompt is in none of them."""
    skipped: dict[str, str] = {}
    try:
        batches = backend.batches(asks, max_new_tokens=max_new_tokens)
    except TooLongError as error:
        if not skip_too_long:
            raise
        skipped = error.needles
        asks = [ask for ask in asks if ask.needle.id not in skipped]
        batches = backend.batches(asks, max_new_tokens=max_new_tokens)
    return [[asks[index] for index in batch] for batch in batches], skipped


def _divide(
    batches: list[list[Ask]], recovered: Mapping[str, Prediction]
) -> tuple[dict[str, Prediction], list[list[Ask]]]:
    """Return the predictions of batches that are complete, and the other batches.

    One that a kill cut off is asked again as a whole: its answers may depend on its shape.
    """
    found: dict[str, Prediction] = {}
    todo = []
    for batch in batches:
        ids = [ask.needle.id for ask in batch]
        if all(id in recovered for id in ids):
            found |= {id: recovered[id] for id in ids}
        else:
            todo.append(batch)
    return found, todo


def _answers(
    backend: Backend, batches: list[list[Ask]], decoding: dict[str, Any], skip_too_long: bool
) -> Iterator[tuple[list[Ask], list[Answer] | TooLongError]]:
    """Yield each batch with its answers as they come.

    When a batch fails, no other is begun, and those under way are yielded before the failure is raised: they
    may have been paid for.
    """

    def answer(batch: list[Ask]) -> list[Answer] | TooLongError:
        try:
            return backend.answer(batch, **decoding)
        except TooLongError as error:
            if not skip_too_long:
                raise
            return error

    if backend.concurrency is None:
        for batch in batches:
            yield batch, answer(batch)
            release()
        return
    left = iter(batches)
    under_way: dict[Future[list[Answer] | TooLongError], list[Ask]] = {}
    failure: BaseException | None = None
    with ThreadPoolExecutor(backend.concurrency) as pool:
        while True:
            # No more are begun than have been recorded, so that a kill loses no others.
            while not failure and len(under_way) < backend.concurrency and (ready := next(left, None)):
                under_way[pool.submit(answer, ready)] = ready
            if not under_way:
                break
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                batch = under_way.pop(future)
                if error := future.exception():
                    failure = failure or error
                else:
                    yield batch, future.result()
    if failure:
        raise failure


def _predict(ask: Ask, answer: Answer, score: Score, place: str) -> Prediction:
    haystack, needle = ask.haystack, ask.needle
    # Half of a surrogate pair, which JSON can hold, is no text and cannot be written.
    output = answer.output.encode("utf-8", "replace").decode("utf-8")
    (_, hit), *others = score(needle, output).items()
    return Prediction(
        id=needle.id,
        haystack=haystack.id,
        group=needle.group,
        question=needle.question,
        accepted=needle.accepted,
        gold=haystack.items[needle.position] if needle.position >= 0 else "",
        position=needle.position,
        place=place,
        length=haystack.meta.get("length"),
        prompt_tokens=answer.prompt_tokens,
        output=output,
        hit=hit,
        extra=dict(others),
        output_tokens=answer.output_tokens,
        cluster=haystack.meta.get("cluster", ""),
        prompt=hashlib.sha256(haystack.message(needle).encode("utf-8", "replace")).hexdigest()[:16],
    )
