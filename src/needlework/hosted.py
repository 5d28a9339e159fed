"""Finetuning and evaluating a model at a hosting provider, stage by stage.

A run's folder holds `recipe.yaml`, `before/` and `after/`, as every run's, and:

    hosted/data/         train.jsonl and its manifest
    hosted/job.json      the host, what the user agreed to, and how far file and job are; no key
    hosted/events.jsonl  what the host reported
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from needlework import generation, served
from needlework import recipe as recipes
from needlework.errors import RecipeError, UserError
from needlework.preparation import check_separate, check_single, make_renderer
from needlework.progress import Progress, Silent
from needlework.recipe import Recipe
from needlework.remote import OPENAI_URL, connect
from needlework.served import Server
from needlework.storage import difference, locked, write_json
from needlework.train.hosted import record as records
from needlework.train.hosted.api import Job, Request
from needlework.train.hosted.hosts import kind_of
from needlework.train.hosted.record import Record

if TYPE_CHECKING:
    from openai import OpenAI

    from needlework.train.hosted.api import Host
    from needlework.train.hosted.estimate import Estimate

Side = Literal["before", "after"]
Confirm = Callable[[str], None]
"""Asks the user whether to go on, and raises a `UserError` if not."""

FOLDER = "hosted"
CLOSING = (
    "OpenAI takes new finetuning jobs only from organizations that used a finetuned model in the last 60 days, "
    "and from 6 January 2027 on from nobody."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """Where to finetune, and at which price."""

    host: str
    """One of `needlework.train.hosted.hosts.HOSTS`: whose API it has."""
    base_url: str | None
    """The API's address; by default the host's own."""
    price: float
    """Dollars for a million tokens of training."""
    conversation: bool = False
    """Ask the needles of a haystack in one chat, which pays for their context once."""


def submit(recipe: Recipe, output: Path, offer: Offer, confirm: Confirm, progress: Progress | None = None) -> Job:
    """Generate training data, say what the finetuning costs, and send it; complete what an earlier call began.

    Args:
        recipe: The experiment; `hosted.model` names the model.
        output: The run's folder.
        offer: Where, and at which price.
        confirm: Asked with what it costs. Nothing is sent before.
        progress: Where to show progress; by default nowhere.

    Raises:
        UserError: If the recipe, the data or the key will not do, or the host does not take them; says why.
    """
    from needlework.train.hosted.submit import submit as send

    progress, path, kind = progress or Silent(), output / FOLDER / "job.json", kind_of(offer.host)
    base_url = (offer.base_url or kind.base_url).rstrip("/")
    client = connect(base_url, kind.key)
    if recipe.hosted.model is None:
        raise RecipeError("the recipe does not say which model to finetune. Add --set hosted.model=NAME.")
    check_single(recipe, "hosted submit")
    check_separate(recipe)
    with locked(output / FOLDER):
        recipe = _settle(recipe, output, offer.host)
        folder = output / FOLDER / "data"
        generation.write(recipe, folder, progress, format="openai", conversation=offer.conversation)
        data = folder / "train.jsonl"
        record = _record(path, recipe, data, dataclasses.replace(offer, base_url=base_url))
        if not record.agreed:
            if base_url == OPENAI_URL:
                progress.say(CLOSING)
            confirm(f"{record.estimate['text']} Send it to {client.base_url.host}?")
            record.agreed = True
            record.save(path)
        job = send(kind.make(client), record, data, lambda: record.save(path), progress.say)
    if job.state in ("failed", "cancelled"):
        raise UserError(f"the job {job.id} of this run ended with the status {job.status}. Give another --output.")
    return job


def status(output: Path) -> Job:
    """Ask the host for the job's status, and record it."""
    record, host, _ = _open(output)
    return _note(output, record, host.retrieve(_sent(output, record).id))


def cancel(output: Path) -> Job:
    """Cancel the job.

    Raises:
        UserError: If it has ended.
    """
    record, host, _ = _open(output)
    job = _note(output, record, host.retrieve(_sent(output, record).id))
    if job.state != "running":
        raise UserError(f"the job {job.id} has ended already, with the status {job.status}.")
    return _note(output, record, host.cancel(job.id))


def wait(output: Path, progress: Progress | None = None) -> str:
    """Follow the job until it has ended, and return the finetuned model's name.

    Raises:
        UserError: If it failed or was cancelled; gives the host's reason.
    """
    from needlework.train.hosted.watch import follow

    progress = progress or Silent()
    record, host, _ = _open(output)
    id, log = _sent(output, record).id, output / FOLDER / "events.jsonl"
    with progress.bar("  job") as update:
        job = follow(host, id, log, lambda job: _note(output, record, job), progress.say, update)
    return _model(output, job)


def evaluate(
    output: Path,
    side: Side,
    confirm: Confirm,
    progress: Progress | None = None,
    *,
    model: str | None = None,
    concurrency: int = 8,
    skip_too_long: bool = False,
) -> None:
    """Ask the base model (`before`) or the finetuned one (`after`) the recipe's benchmarks.

    Args:
        output: The run's folder.
        side: Which model; its answers go to the folder of that name.
        confirm: Asked with the number of prompts and tokens. Nothing is sent before.
        progress: Where to show progress; by default nowhere.
        model: The name it is served by, where that is another: of a deployment or an endpoint.
        concurrency: Requests under way at once.
        skip_too_long: Leave prompts out that the host refuses as too long, and count them.

    Raises:
        UserError: If there is no such model yet, or the host does not answer; says why.
    """
    record, _, client = _open(output)
    recipe = recipes.load(output / "recipe.yaml")
    name = model or (record.request.model if side == "before" else _model(output, _sent(output, record)))
    server = Server(record.base_url, concurrency, skip_too_long=skip_too_long)
    served.evaluate(name, server, recipe, output / side, progress, client=client, confirm=confirm)


def _settle(recipe: Recipe, output: Path, host: str) -> Recipe:
    """Resolve what is left open, and write the recipe into the folder or check it against the one there."""
    from needlework.dataset.formats import openai
    from needlework.environment import describe

    if host == "openai":
        recipe = generation.with_system(recipe, openai.SYSTEM)
    path, made = output / "recipe.yaml", ("before", "train", "after", f"{FOLDER}/data/manifest.json")
    # Before any stage has begun, a recipe with a mistake may be corrected in place.
    if not path.exists() or not any((output / each).exists() for each in made):
        recipes.save(recipe, path)
        write_json(output / "environment.json", describe())
    elif found := difference(recipes.load(path).model_dump(mode="json"), recipe.model_dump(mode="json")):
        raise RecipeError(f"{output} holds a run of another recipe: {found}. Give another --output.")
    return recipe


def _record(path: Path, recipe: Recipe, data: Path, offer: Offer) -> Record:
    """Return the record of what was agreed to, or a new one of what there is to agree to."""
    if path.exists() and (record := records.load(path)).agreed:
        if found := difference([record.host, record.base_url], [offer.host, offer.base_url]):
            raise UserError(f"{path.parent.parent} holds a job at another host: {found}. Give another --output.")
        return record
    assert recipe.hosted.model is not None
    assert offer.base_url is not None
    estimate = _estimate(recipe, data, offer)
    request = Request(
        key=records.new_key(),
        model=recipe.hosted.model,
        epochs=recipe.train.epochs,
        seed=recipe.seed,
        learning_rate=recipe.train.learning_rate,
        lora_rank=None if recipe.train.trainable == "full" else recipe.train.lora_rank,
    )
    values = dataclasses.asdict(estimate) | {"cost": estimate.cost, "text": str(estimate)}
    record = Record(offer.host, offer.base_url, request, values)
    record.save(path)
    return record


def _estimate(recipe: Recipe, data: Path, offer: Offer) -> Estimate:
    """Check the training data by the host's rules, and say what they cost."""
    from needlework.dataset.formats import openai
    from needlework.train.hosted.estimate import counter, estimate

    model = recipe.hosted.model or ""
    with data.open("rb") as lines:
        for _ in openai.validated(lines):
            pass
    encode, name = counter(model, make_renderer(recipe.model), recipe.model.name)
    found = estimate(data, encode, name, recipe.train.epochs, offer.price)
    if offer.host == "openai" and found.longest > (limit := openai.max_tokens(model)):
        raise UserError(
            f"the longest example has {found.longest:,} tokens (counted with {name}), and {model} is trained on the "
            f"first {limit:,}, without the answer. Lower data.max_tokens or data.items."
        )
    return found


def _open(output: Path) -> tuple[Record, Host, OpenAI]:
    record = records.load(output / FOLDER / "job.json")
    kind = kind_of(record.host)
    client = connect(record.base_url, kind.key)
    return record, kind.make(client), client


def _sent(output: Path, record: Record) -> Job:
    if record.job is None:
        raise UserError(f"{output} has no job yet. Send it: needlework hosted submit RECIPE --output {output}")
    return record.job


def _note(output: Path, record: Record, job: Job) -> Job:
    if job != record.job:
        record.job = job
        record.save(output / FOLDER / "job.json")
    return job


def _model(output: Path, job: Job) -> str:
    if job.state == "running":
        raise UserError(f"the job {job.id} has not ended ({job.status}). Wait for it: needlework hosted wait {output}")
    if job.model is None:
        reason = job.error or ("it names no model" if job.state == "succeeded" else "the host gives no reason")
        raise UserError(f"the job {job.id} ended with the status {job.status}: {reason.rstrip('.')}.")
    return job.model
