"""A model as lm-evaluation-harness asks it, whose responses are on disk as they come."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs

from needlework.errors import ModelError
from needlework.inference.hf import HFBackend
from needlework.storage import write_text

AT_ONCE = 64
"""Requests whose responses are written together."""


class Recorder(LM):  # type: ignore[misc]
    """lm-eval's own model of transformers, on weights that are loaded already.

    Where lm-eval ends an answer at a newline or at punctuation, it is read on to the newline: lm-eval is given the
    part it asks for, and `full` the whole line, in which an answer may follow other words.

    Args:
        backend: Holds model and tokenizer.
        batch_size: Prompts computed together.
        path: Receives each response, as a line of JSON; what it holds already is not asked again.
        report: Called with the number of responses that there are, and of all requests of one kind.

    Raises:
        ModelError: If a request exceeds the model's context, which lm-eval would cut off at its beginning.
    """

    def __init__(self, backend: HFBackend, batch_size: int, path: Path, report: Callable[[int, int], None]) -> None:
        super().__init__()
        self.lm = HFLM(
            pretrained=backend.model,
            tokenizer=backend.renderer.tokenizer,
            batch_size=batch_size,
            # As our own prompts have it.
            enable_thinking=False,
            chat_template_args={"chat_template": template} if (template := backend.renderer.template) else None,
        )
        self.path = path
        self.report = report
        self.responses: dict[str, Any] = dict(_recover(path)) if path.exists() else {}
        # Without the line that a kill may have cut off.
        write_text(path, "".join(map(_line, self.responses.items())))

    @property
    def tokenizer_name(self) -> str:
        return str(self.lm.tokenizer_name)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        template: str | None = self.lm.chat_template(chat_template)
        return template

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return str(self.lm.apply_chat_template(chat_history, add_generation_prompt))

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return [(value, greedy) for value, greedy in self._ask("loglikelihood", [each.args for each in requests])]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise ModelError(f"{requests[0].task_name} measures perplexity, which has no hits. Leave it out.")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        texts = self._ask("generate_until", [_to_line_end(each.args) for each in requests])
        return [_cut(text, _stops(each.args[1])) for text, each in zip(texts, requests, strict=True)]

    def full(self, prompt: str, options: dict[str, Any]) -> str:
        """Return the whole line that was generated for a request."""
        return str(self.responses[_key("generate_until", _to_line_end((prompt, options)))])

    def count(self, text: str) -> int:
        """Return the tokens of a prompt, as lm-eval counts them."""
        return len(self.lm.tok_encode(text))

    def _ask(self, kind: str, requests: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the responses to requests of one kind, asking those that are not in the file."""
        keys = [_key(kind, request) for request in requests]
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in self.responses}
        self._check(missing.values())
        # Longest first: what does not fit in memory fails at once, and what is computed together is of a length.
        order = sorted(missing, key=lambda key: -len(missing[key][0]))
        total = len(set(keys))
        self.report(total - len(order), total)
        with self.path.open("a", encoding="utf-8") as file:
            for start in range(0, len(order), AT_ONCE):
                some = order[start : start + AT_ONCE]
                instances = [Instance(kind, {}, missing[key], 0) for key in some]
                found = getattr(self.lm, kind)(instances, disable_tqdm=True)
                for key, response in zip(some, found, strict=True):
                    self.responses[key] = response
                    file.write(_line((key, response)))
                file.flush()
                os.fsync(file.fileno())
                self.report(total - len(order) + start + len(some), total)
        return [self.responses[key] for key in keys]

    def _check(self, requests: Any) -> None:
        for prompt, rest in requests:
            if isinstance(rest, dict):
                # It has several names.
                needed = self.count(prompt) + normalize_gen_kwargs(rest, self.lm.max_gen_toks)["max_gen_toks"]
            else:
                needed = self.count(prompt + rest)
            if needed > self.lm.max_length:
                raise ModelError(
                    f"a prompt of lm-eval needs {needed} tokens with its answer, but the model's context is "
                    f"{self.lm.max_length}. Lower general.fewshot, or leave the task out."
                )


def _to_line_end(request: tuple[Any, ...]) -> tuple[Any, ...]:
    prompt, options = request
    return prompt, {**options, "until": ["\n"]} if "\n" in _stops(options) else options


def _stops(options: dict[str, Any]) -> list[str]:
    until = options["until"]
    # An empty stop, which some tasks have, ends nothing; lm-eval ignores it, too.
    return [each for each in ([until] if isinstance(until, str) else until) if each]


def _cut(text: str, until: Sequence[str]) -> str:
    for each in until:
        text = text.split(each)[0]
    return text


def _key(kind: str, request: tuple[Any, ...]) -> str:
    return hashlib.sha256(json.dumps([kind, *request], sort_keys=True).encode()).hexdigest()


def _line(entry: tuple[str, Any]) -> str:
    return json.dumps(entry) + "\n"


def _recover(path: Path) -> list[tuple[str, Any]]:
    """Read the responses up to the last whole line; a kill may have cut one off."""
    found: list[tuple[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
        try:
            key, response = json.loads(line)
        except ValueError:
            break
        found.append((key, response))
    return found
