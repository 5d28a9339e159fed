"""The settings of each benchmark, with defaults and help: the section `evaluate` of a recipe.

The first line of a section is what `needlework list benchmarks` says of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import Field, model_validator

from needlework.corpus import Half
from needlework.errors import RecipeError
from needlework.sections import Fraction, Section, validate


class KV(Section):
    """Key-value retrieval at several lengths and depths: dictionaries of integers, or UUIDs in a JSON object."""

    task: Literal["simple_dict", "multi_subkey", "uuid"] = "simple_dict"
    """Dictionaries keyed by integers or by tuples of integers, or lost-in-the-middle's UUIDs."""
    file: str | None = None
    """lost-in-the-middle's UUID file, by path or http address, instead of a task; it sets its own length."""
    lengths: tuple[int, ...] = Field((512, 1024, 2048), min_length=1)
    """Token budgets of the haystacks."""
    depths: tuple[Fraction, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """Relative gold positions from 0 (first) to 1 (last), one needle each."""
    haystacks: int = Field(20, ge=1)
    """Haystacks per length, or from the file."""
    template: bool = True
    """Show the form of the answer in the question (dictionaries only)."""


class MDQA(Section):
    """Questions over many Wikipedia paragraphs, with the gold one at several positions."""

    file: str | None = None
    """lost-in-the-middle's oracle or N-document file, by path or http address, instead of the embedded text."""
    documents: int = Field(20, ge=1)
    """Paragraphs per haystack; the paper uses 20. An N-document file sets N."""
    positions: tuple[int, ...] | None = Field((1, 5, 10, 15, 20), min_length=1)
    """Gold positions, counted from 1; null keeps the position in an N-document file."""
    lengths: tuple[int, ...] = ()
    """Token budgets to fill with paragraphs, instead of `documents` and `positions`."""
    depths: tuple[Fraction, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """Relative gold positions, used with `lengths`."""
    distractors: Literal["random", "relevant"] = "random"
    """Distractor paragraphs: random, or the most relevant to the question by BM25. An N-document file has its own."""
    controls: bool = False
    """Also ask each question without paragraphs (`mdqa_closed_book`) and with only the gold one (`mdqa_oracle`)."""
    paragraphs: int = Field(100, ge=1)
    """Gold paragraphs; for a file, questions."""
    questions_per_paragraph: int = Field(2, ge=1)
    """Questions per gold paragraph."""
    max_new_tokens: int = Field(100, ge=1)
    """Maximum tokens in an answer; the paper uses 100."""
    half: Half = "eval"
    """Which half of the articles to use: choose settings on `train`, report on `eval`."""


class NIAH(Section):
    """Needles in a haystack of prose: one or several sentences with a number, at several lengths and depths."""

    kind: Literal["single", "multi_needle", "multi_value"] = "single"
    """One needle; one at each depth, asked one by one; or one value of a single key at each depth, asked together."""
    lengths: tuple[int, ...] = Field((1024, 2048, 4096), min_length=1)
    """Token budgets of the haystacks."""
    depths: tuple[Fraction, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """Relative positions of the needles, from 0 (first) to 1 (last)."""
    haystacks: int = Field(20, ge=1)
    """Haystacks per length; for a single needle, per length and depth."""


class Own(Section):
    """Your own haystacks, in the training format: `needlework evaluate MODEL --data FILE`."""

    file: str
    """The file of haystacks (docs/own-data.md)."""
    haystacks: int | None = Field(None, ge=1)
    """How many haystacks to draw, by seed; all by default."""
    max_new_tokens: int = Field(100, ge=1)
    """Maximum tokens in an answer."""


class FLenQA(Section):
    """True-or-false questions about two facts (FLenQA), with more and more text around them."""

    file: str | None = None
    """The authors' samples instead of new ones: their file, or alonj/FLenQA, its id on the Hugging Face Hub."""
    tasks: tuple[Literal["MonoRel", "PIR", "Simplified RuleTaker"], ...] = Field(
        ("MonoRel", "PIR", "Simplified RuleTaker"), min_length=1
    )
    """Who is older than whom, which room someone is in, and what follows from a rule."""
    paddings: tuple[Literal["same", "books"], ...] = Field(("same", "books"), min_length=1)
    """Text around the facts: paragraphs from the task's other samples, or prose."""
    dispersions: tuple[Literal["first", "middle", "last", "random"], ...] = Field(
        ("first", "middle", "last", "random"), min_length=1
    )
    """Where the two facts are: side by side (first, middle, last), or each anywhere (random)."""
    lengths: tuple[int, ...] = Field((250, 500, 1000, 2000, 3000), min_length=1)
    """Token budgets of the prompts; for a file, which of its lengths."""
    samples: int = Field(20, ge=1)
    """Samples per task; the authors use 100."""
    chain_of_thought: bool = False
    """Ask for reasoning steps before the answer."""
    max_new_tokens: int = Field(400, ge=1)
    """Maximum tokens in an answer; the authors allow 400."""
    source: str | None = None
    """A folder of .txt files for the prose; by default the evaluation half of the embedded text."""
    official_normalization: bool = False
    """Reproduce a bug in the authors' scoring, which keeps punctuation: `not "true"` then counts as true."""


class Knowledge(Section):
    """Closed-book facts: what the model knows without a context."""

    facts: int = Field(500, ge=1)
    """Number of facts."""
    half: Half = "eval"
    """Which half of the facts to use."""


class Grounding(Section):
    """Questions whose context contradicts what the model remembers."""

    questions: int = Field(300, ge=1)
    """Number of questions."""
    half: Half = "eval"
    """Which half of the questions to use."""


class KnownUnknowns(Section):
    """46 questions, half of them unanswerable, each asked with its choices in both orders."""


class General(Section):
    """MMLU, HellaSwag, GSM8K, TriviaQA and NQ-Open, or other tasks of lm-evaluation-harness (extra `[eval]`)."""

    tasks: tuple[str, ...] = Field(("mmlu", "hellaswag", "gsm8k", "triviaqa", "nq_open"), min_length=1)
    """lm-evaluation-harness tasks or groups; each is its own benchmark."""
    limit: int | None = Field(500, ge=1)
    """Questions per task or group, drawn by seed; null asks all."""
    fewshot: int | None = Field(None, ge=0)
    """Few-shot examples; by default each task's own number."""
    batch_size: int = Field(8, ge=1)
    """Prompts per batch."""
    chat_template: bool = False
    """Use the model's chat template; most published numbers do not."""
    include_path: str | None = None
    """A folder of task files that take precedence over those of lm-evaluation-harness."""


class Perplexity(Section):
    """Loss per token on ordinary prose, measured inside the model."""

    lengths: tuple[int, ...] = Field((256, 1024), min_length=1)
    """Tokens per text."""
    texts: int = Field(40, ge=2)
    """Texts per length."""
    source: str | None = None
    """A folder of .txt files, or a file of questions with passages; by default the embedded articles."""
    half: Half = "eval"
    """Which half of the embedded articles to use."""


class Drift(Section):
    """KL divergence per token from the base model, on ordinary and on key-value prompts."""

    prompts: int = Field(100, ge=2)
    """Number of ordinary prompts: questions without their text."""
    source: str | None = None
    """A file of questions; by default the embedded ones."""
    half: Half = "eval"
    """Which half of the embedded questions to use."""
    lengths: tuple[int, ...] = Field((1024,), min_length=1)
    """Token budgets of the key-value haystacks."""
    haystacks: int = Field(8, ge=2)
    """Key-value haystacks per length."""
    needles: int = Field(8, ge=1)
    """Needles per haystack."""
    max_new_tokens: int = Field(48, ge=1)
    """Maximum tokens in the base model's answer, over which the two models are compared."""


class TokenLoss(Section):
    """Loss per answer token of key-value needles: template words, key, value, dictionary."""

    lengths: tuple[int, ...] = Field((1024,), min_length=1)
    """Token budgets of the haystacks."""
    haystacks: int = Field(16, ge=2)
    """Haystacks per length."""
    needles: int = Field(8, ge=1)
    """Needles per haystack, spread from the first dictionary to the last."""


class Heads(Section):
    """Retrieval score of every attention head on key-value needles."""

    lengths: tuple[int, ...] = Field((1024,), min_length=1)
    """Token budgets of the haystacks."""
    haystacks: int = Field(16, ge=2)
    """Haystacks per length."""
    needles: int = Field(8, ge=1)
    """Needles per haystack, spread from the first dictionary to the last."""


MEASURES = ("perplexity", "drift", "token_loss", "heads")
"""Measured inside the model; the others ask it questions."""


class Evaluate(Section):
    """Benchmarks run before and after finetuning. Without this section those are kv, mdqa and knowledge; with it, those
    that it names."""

    kv: KV | None = None
    mdqa: MDQA | None = None
    niah: NIAH | None = None
    own: Own | None = None
    flenqa: FLenQA | None = None
    knowledge: Knowledge | None = None
    grounding: Grounding | None = None
    known_unknowns: KnownUnknowns | None = None
    general: General | None = None
    perplexity: Perplexity | None = None
    drift: Drift | None = None
    token_loss: TokenLoss | None = None
    heads: Heads | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Evaluate:
        if not any(dict(self).values()):
            raise ValueError("name at least one benchmark")
        return self


def sections() -> dict[str, type[Section]]:
    """Return the section of each benchmark by its name."""
    return {name: get_args(field.annotation)[0] for name, field in Evaluate.model_fields.items()}


def choose(given: Evaluate, names: Sequence[str]) -> Evaluate:
    """Return the named benchmarks, with the settings of a recipe or their defaults; without names all of the recipe's.

    Raises:
        RecipeError: If there is no benchmark of a name, or it lacks a setting.
    """
    known = sections()
    if unknown := [name for name in names if name not in known]:
        raise RecipeError(
            f"there is no benchmark {unknown[0]!r}. Known: {', '.join(known)}. Those of "
            "lm-evaluation-harness are tasks of general: --benchmarks general --set evaluate.general.tasks=[mmlu]."
        )
    if not names:
        return given
    if "own" in names and given.own is None:
        raise RecipeError("the benchmark own asks haystacks of yours: give their file, --data FILE.")
    return Evaluate(**{name: getattr(given, name) or validate(known[name], {}, f"evaluate.{name}") for name in names})
