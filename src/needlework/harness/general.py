"""General benchmarks through lm-evaluation-harness, on the model already loaded: what did finetuning break?

lm-eval makes the prompts, picks the examples shown, and scores; its samples become predictions, so that they are
compared, gated and reported as those of our own benchmarks are.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from needlework import benchmark_settings
from needlework.benchmarks.scoring import contained_match
from needlework.errors import UserError
from needlework.haystack import Prediction, write
from needlework.inference.answers import read_finished
from needlework.inference.backend import Backend
from needlework.matching import normalize

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

    from needlework.harness.recorder import Recorder

INSTALL = "general needs lm-evaluation-harness, which is not installed: pip install -e '.[eval]' in the clone"

NAMES = {"mmlu": "MMLU", "hellaswag": "HellaSwag", "gsm8k": "GSM8K", "triviaqa": "TriviaQA", "nq_open": "NQ-Open"}
"""How the literature spells them."""

CONTAINED = frozenset({"triviaqa", "nq_open"})
"""Short answers that lm-eval takes only alone. Whether the line holds one is what counts here: after finetuning a model
often answers in another form, which is not lost knowledge."""

COUNTS = {"gsm8k": "flexible-extract"}
"""The score that counts where it is not the task's first: here the last number, in whatever form it is given."""


def version() -> str:
    """Return the version of lm-eval.

    Raises:
        UserError: If it is not installed; says how to.
    """
    try:
        return importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(INSTALL) from None


@dataclass(frozen=True)
class General:
    """A benchmark of lm-eval: a task, or a group such as `mmlu`, of which a sample is asked."""

    name: str
    tasks: dict[str, Any]
    """lm-eval's tasks by name; of a group those of which something is asked."""
    samples: dict[str, list[int]]
    """The questions asked, by task and in their order."""
    manager: TaskManager
    fewshot: int | None
    batch_size: int
    chat_template: bool

    @property
    def versions(self) -> dict[str, str]:
        """The versions of its tasks."""
        return {name: str((task.config.metadata or {}).get("version")) for name, task in self.tasks.items()}

    @property
    def titles(self) -> dict[str, str]:
        """What each score means, the one that counts first."""
        title = NAMES.get(self.name, self.name)
        first, *others = self._scores
        return {first: title} | {name: f"{title}, {name.replace('_', ' ')}" for name in others}

    @property
    def _scores(self) -> list[str]:
        """Return the names of the scores, the one that counts first."""
        task = next(iter(self.tasks.values()))
        found = [_score(task, metric, each.name) for each in task._filters for metric in task.aggregation()]
        found = [*(["contained"] if self.name in CONTAINED else []), *found]
        return sorted(found, key=lambda name: name != COUNTS.get(self.name, found[0]))

    def ask(self, backend: Backend, path: Path, report: Callable[[int, int], None]) -> list[Prediction]:
        """Ask the questions and write the predictions, unless that was done.

        Args:
            backend: Answers of a transformers model; lm-eval wants the likelihood of given texts, too.
            path: The predictions file. Responses are beside it until it is written, and are not asked again.
            report: Called with the number of responses that there are, and of all.

        Raises:
            UserError: If the backend is another, a prompt exceeds the model's context, a score is not yes or no, or
                the file does not hold these questions.
        """
        if path.exists():
            asked = [f"{name}/{number}" for name, numbers in self.samples.items() for number in numbers]
            return read_finished(path, asked)[0]
        from lm_eval import simple_evaluate

        from needlework.harness.recorder import Recorder
        from needlework.inference.hf import HFBackend

        if not isinstance(backend, HFBackend):
            raise UserError(f"{self.name} runs on the weights of a model, so it needs the hf backend. Leave it out.")
        responses = path.with_name(path.name + ".responses")
        recorder = Recorder(backend, self.batch_size, responses, report)
        results = simple_evaluate(
            model=recorder,
            tasks=list(self.tasks.values()),
            num_fewshot=self.fewshot,
            samples=self.samples,
            apply_chat_template=self.chat_template,
            system_instruction=backend.renderer.system if self.chat_template else None,
            task_manager=self.manager,
            bootstrap_iters=0,
        )
        predictions = [
            prediction
            for name, task in self.tasks.items()
            for prediction in self._predictions(name, task, results["samples"][name], recorder)
        ]
        write(predictions, path)
        responses.unlink()
        return predictions

    def _predictions(
        self, name: str, task: Any, samples: Sequence[Mapping[str, Any]], recorder: Recorder
    ) -> Iterator[Prediction]:
        """Yield the predictions of one task from lm-eval's samples, one for each question and filter."""
        by_question: dict[int, list[Mapping[str, Any]]] = {}
        for sample in samples:
            by_question.setdefault(sample["doc_id"], []).append(sample)
        for number, each in by_question.items():
            output, accepted = _answer(task, each[0], recorder)
            scores = {
                _score(task, metric, sample["filter"]): _yes_or_no(name, metric, sample[metric])
                for sample in each
                for metric in sample["metrics"]
            }
            if self.name in CONTAINED:
                scores["contained"] = contained_match(output, accepted)
            first, *others = self._scores
            text, prompt = task.doc_to_text(each[0]["doc"]), each[0]["arguments"][0][0]
            yield Prediction(
                id=f"{name}/{number}",
                haystack=f"{name}/{number}",
                group=f"{name}/{number}",
                # Some tasks have the question among the choices.
                question=text if isinstance(text, str) else prompt,
                accepted=accepted,
                gold="",
                position=-1,
                place="",
                length=None,
                prompt_tokens=recorder.count(prompt),
                output=output,
                hit=scores[first],
                extra={other: scores[other] for other in others},
            )


def build(settings: benchmark_settings.General, *, seed: int) -> list[General]:
    """Load the tasks and choose the questions.

    Args:
        settings: See `needlework.benchmark_settings.General`.
        seed: Chooses the questions.

    Raises:
        UserError: If lm-eval is not installed, knows no such task, or has not its data.
    """
    version()
    _quiet()
    manager = _manager(settings.tasks, settings.include_path)
    options = (settings.fewshot, settings.batch_size, settings.chat_template)
    built = []
    for name in settings.tasks:
        loaded = _load(manager, name)
        samples = _sample({each: len(task.eval_docs) for each, task in loaded.items()}, settings.limit, seed)
        chosen = {each: loaded[each] for each in samples}
        built.append(General(name, chosen, samples, manager, *options))
    return built


def _quiet() -> None:
    """Silence lm-eval's notes and progress bars, which would stand between ours."""
    from functools import partial

    import datasets
    from lm_eval.api import task
    from tqdm import tqdm

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    task.tqdm = partial(tqdm, disable=True)


def _manager(tasks: Sequence[str], include_path: str | None) -> TaskManager:
    from lm_eval.tasks import TaskManager

    if include_path is None:
        return TaskManager()
    if not Path(include_path).is_dir():
        raise UserError(f"general.include_path is {include_path}, which is not a folder.")
    # Reading lm-eval's own files takes ten seconds, so only where one of them is wanted.
    own = TaskManager(include_path=include_path, include_defaults=False)
    return own if set(tasks) <= set(own.all_tasks) else TaskManager(include_path=include_path)


def _load(manager: TaskManager, name: str) -> dict[str, Any]:
    if name not in manager.all_tasks:
        raise UserError(f"lm-eval has no task {name!r}. `lm-eval ls tasks` shows those it has.")
    try:
        return dict(manager.load([name])["tasks"])
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"cannot load the data of {name}: {reason[:200]}. Without a network, give the task with data files of "
            f"your own in general.include_path."
        ) from None


def _sample(sizes: Mapping[str, int], limit: int | None, seed: int) -> dict[str, list[int]]:
    """Draw questions from all tasks together, each question alike; in their order, as lm-eval wants them."""
    everything = [(name, index) for name, size in sizes.items() for index in range(size)]
    drawn = np.random.default_rng(seed).permutation(len(everything))[:limit].tolist()
    samples: dict[str, list[int]] = {}
    for name, index in (everything[each] for each in sorted(drawn)):
        samples.setdefault(name, []).append(index)
    return samples


def _score(task: Any, metric: str, kind: str) -> str:
    """Name a score: by its metric, by the filter that was applied before it, or by both, where there are several."""
    several = len(task._filters) > 1, len(task.aggregation()) > 1
    return f"{kind} {metric}" if all(several) else kind if several[0] else metric


def _yes_or_no(task: str, metric: str, value: Any) -> bool:
    if isinstance(value, (bool, int, float, np.number)) and value in (0, 1):
        return bool(value)
    raise UserError(f"{task} has a score that is not yes or no, {metric} = {value!r}. Leave the task out.")


def _answer(task: Any, sample: Mapping[str, Any], recorder: Recorder) -> tuple[str, tuple[str, ...]]:
    """Return what the model said, or which choice it took, and what was accepted."""
    target = sample["target"]
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = task.doc_to_choice(sample["doc"])
        likelihoods = [response[0] for response in sample["filtered_resps"][: len(choices)]]
        right = target if isinstance(target, list) else [target]
        accepted = [choices[each] if isinstance(each, int) else each for each in right]
        return choices[int(np.argmax(likelihoods))], tuple(accepted)
    accepted = target if isinstance(target, list) else [str(target)]
    # An alias of which normalising leaves nothing, such as "The", would be held by any output.
    return recorder.full(*sample["arguments"][0]), tuple(each for each in accepted if normalize(each))
