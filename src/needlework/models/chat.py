"""Rendering haystacks with a model's own chat template and tokenizer.

Everything that counts, trains on or asks a prompt goes through `Renderer`, so the three cannot differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Any

from needlework.errors import ModelError
from needlework.haystack import Haystack, Needle

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase


TODAY = date(2024, 7, 26)
"""The date that templates write on any day: the one that Llama's have as their default."""


@dataclass(frozen=True, slots=True)
class PackedRow:
    """A haystack with K needles as token ids: what all its rows begin with, then what each adds.

    prefix:      system, preamble, items, and as much of the questions as they share     P tokens
    branches[k]: the rest of row k: question, chat markers, answer, end of turn
    answers[k]:  how many tokens at the end of branch k are the answer, supervised in training
    """

    prefix: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    answers: tuple[int, ...]


class Renderer:
    """Turns haystacks into a model's token ids.

    Args:
        tokenizer: The model's own tokenizer, with its chat template. Without a template the user
            message is the whole prompt, followed by a newline.
        system: A system message; most open models get none (arXiv 2406.19292 gives OpenAI's one).
        conversation: Ask the needles of a haystack as the turns of one conversation, each later question by
            itself, where data are written that way. Otherwise each needle is a chat of its own.

    Raises:
        ModelError: If the chat template refuses the messages.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, system: str | None = None, conversation: bool = False
    ) -> None:
        self.tokenizer = tokenizer
        self.system = system
        self.conversation = conversation
        self.template = None if tokenizer.chat_template is None else undated(tokenizer.get_chat_template())
        """The chat template, which writes the same on any day."""
        # Chat templates write the beginning-of-sequence token themselves.
        begins = self.template is None and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
        self._bos = str(tokenizer.bos_token) if begins else ""

    def prompt(self, haystack: Haystack, needle: Needle) -> str:
        """Return the text the model sees before it answers."""
        message = haystack.message(needle)
        if self.tokenizer.chat_template is None:
            return self._bos + message + "\n"
        return self._render([("user", message)])

    def completion(self, haystack: Haystack, needle: Needle) -> str:
        """Return the text to train on: the answer and the end-of-turn marker, as the template writes them."""
        if self.tokenizer.chat_template is not None:
            prompt = self.prompt(haystack, needle)
            whole = self._render([("user", haystack.message(needle)), ("assistant", needle.answer)])
            # Templates may strip an answer, and put a newline or a space after the end of turn, which the model never
            # has to write.
            if whole.startswith(prompt) and needle.answer.strip() in whole[len(prompt) :]:
                return whole[len(prompt) :].rstrip()
        return needle.answer + (self.tokenizer.eos_token or "")

    @cached_property
    def end(self) -> int | None:
        """The token with which a completion ends the turn, often not the tokenizer's end of sequence; None if none."""
        needle = Needle("", "", "?", "0", ("0",), -1)
        marker = self.completion(Haystack("", "", "", (), (needle,)), needle).rpartition(needle.answer)[2]
        return next((id for id in self.encode([marker])[0] if id in self.tokenizer.added_tokens_decoder), None)

    def ends(self, generation: GenerationConfig) -> list[int]:
        """Return the tokens that end an answer: those of a model's own settings, the tokenizer's and `end`."""
        own = generation.eos_token_id
        found = [*(own if isinstance(own, list) else [own]), self.tokenizer.eos_token_id, self.end]
        return [id for id in dict.fromkeys(found) if id is not None]

    def prompt_ids(self, haystack: Haystack, needle: Needle) -> list[int]:
        """Return the ids of the prompt."""
        return self.encode([self.prompt(haystack, needle)])[0]

    def rows(self, haystack: Haystack) -> list[tuple[list[int], list[int]]]:
        """Return, for each needle, the ids of the prompt and of the completion."""
        prompts = [self.prompt(haystack, needle) for needle in haystack.needles]
        completions = [self.completion(haystack, needle) for needle in haystack.needles]
        wholes = self.encode([prompt + end for prompt, end in zip(prompts, completions, strict=True)])
        rows = []
        for ids, whole, end in zip(self.encode(prompts), wholes, completions, strict=True):
            # A tokenizer that merges across the seam would train on a prompt that is never asked.
            joined = whole[: len(ids)] == ids
            rows.append((ids, whole[len(ids) :] if joined else self.encode([end])[0]))
        return rows

    def count(self, haystack: Haystack) -> int:
        """Return the tokens of the longest prompt with its answer, or of the conversation."""
        if self.conversation:
            return len(self.turns(haystack)[1])
        return max(len(prompt) + len(completion) for prompt, completion in self.rows(haystack))

    def pack(self, haystack: Haystack) -> PackedRow:
        """Return the haystack's rows with their common beginning held once.

        The last token of each prompt stays in its branch, because it predicts the answer's first.
        """
        rows = self.rows(haystack)
        shared = common_length([prompt[:-1] for prompt, _ in rows])
        return PackedRow(
            prefix=tuple(rows[0][0][:shared]),
            branches=tuple((*prompt[shared:], *completion) for prompt, completion in rows),
            answers=tuple(len(completion) for _, completion in rows),
        )

    def turns(self, haystack: Haystack) -> tuple[str, list[int], list[tuple[int, int]]]:
        """Return the one conversation that asks all needles in turn.

        Returns:
            The text, its ids, and for each answer with its end-of-turn marker its tokens' [start, end).

        Raises:
            ModelError: If the chat template cannot render several turns.
        """
        text, spans = self._conversation(haystack)
        cuts = list(chain.from_iterable(spans))
        whole, *beginnings = self.encode([text, *(text[:cut] for cut in cuts)])
        if all(whole[: len(ids)] == ids for ids in beginnings):
            ids, ends = whole, [len(each) for each in beginnings]
        else:
            # As in `rows`: what merges across a seam would never be asked.
            pieces = self.encode([text[start:end] for start, end in pairwise([0, *cuts])])
            ids, ends = list(chain.from_iterable(pieces)), list(accumulate(map(len, pieces)))
        return text, ids, list(zip(ends[::2], ends[1::2], strict=True))

    def _conversation(self, haystack: Haystack) -> tuple[str, list[tuple[int, int]]]:
        """Return the text of the conversation and the characters of each answer with its end-of-turn marker."""
        if self.tokenizer.chat_template is None:
            raise ModelError("the model has no chat template, and a conversation needs one. Leave out --conversation.")
        first, *others = haystack.needles
        questions = [haystack.message(first), *(needle.question for needle in others)]
        answers = [needle.answer for needle in haystack.needles]
        turns = []
        for question, answer in zip(questions, answers, strict=True):
            turns += [("user", question), ("assistant", answer)]
        text = self._render(turns)
        before, _, after = self.completion(haystack, first).partition(first.answer)
        spans, end = [], 0
        for number, (question, answer) in enumerate(zip(questions, answers, strict=True), start=1):
            # Templates may strip what they are given.
            asked = text.find(question.strip(), end)
            start = text.find(before + answer + after, asked + len(question.strip()))
            if min(asked, start) < 0:
                raise ModelError(
                    f"the model's chat template drops or changes turn {number} of {len(answers)}, "
                    f"so it cannot write conversations. Leave out --conversation."
                )
            end = start + len(before + answer + after)
            spans.append((start, end))
        return text[:end], spans

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts that hold their special tokens already."""
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return ids

    def _render(self, turns: Sequence[tuple[str, str]]) -> str:
        """Return the text of turns, each a role and what it says; after a user turn comes the assistant's opening."""
        from jinja2 import TemplateError

        if self.system is not None:
            turns = [("system", self.system), *turns]
        messages: list[dict[str, Any]] = [{"role": role, "content": content} for role, content in turns]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    chat_template=self.template,
                    tokenize=False,
                    add_generation_prompt=turns[-1][0] == "user",
                    # Qwen3 would otherwise think first; other templates ignore it.
                    enable_thinking=False,
                )
            )
        except TemplateError as error:
            roles = ", ".join(role for role, _ in turns)
            fix = "" if self.system is None else " Many templates take no system message: set model.system to null."
            reason = str(error).rstrip(".")
            raise ModelError(f"the model's chat template refuses the roles {roles}: {reason}.{fix}") from None


def undated(template: str) -> str:
    """Return a chat template that writes `TODAY` where it would write the current date.

    Llama 3.2's, for one, asks `strftime_now` for it: after midnight a training would go on with other prompts.
    """
    if "strftime_now" not in template:
        return template
    formats = re.findall(r"""strftime_now\(\s*(?:"([^"]*)"|'([^']*)')""", template)
    dates = {each: TODAY.strftime(each) for each in map("".join, formats)}
    written = f"{{{{ {json.dumps(dates)}.get(format, {json.dumps(str(TODAY))}) }}}}"
    # A line of its own, which Jinja takes out, so that the template's first line stays one.
    return f"{{%- macro strftime_now(format) %}}{written}{{% endmacro %}}\n{template}"


def common_length(sequences: Sequence[list[int]]) -> int:
    """Return how many leading tokens all the sequences share."""
    first, last = min(sequences), max(sequences)
    # Lexicographic order: what the smallest and the largest share, all share.
    limit = min(len(first), len(last))
    return next((index for index in range(limit) if first[index] != last[index]), limit)
