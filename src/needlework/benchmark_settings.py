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
    """Dictionaries with integers or tuples of integers as keys, or lost-in-the-middle's UUIDs."""
    file: str | None = None
    """lost-in-the-middle's file of UUIDs, by path or http address, instead of a task; it has a length of its own."""
    lengths: tuple[int, ...] = Field((512, 1024, 2048), min_length=1)
    """Token budgets of the haystacks."""
    depths: tuple[Fraction, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """Relative gold positions, one needle each."""
    haystacks: int = Field(20, ge=1)
    """Haystacks of each length, or of the file."""
    template: bool = True
    """Show the answer's form in the question, where dictionaries are asked."""


class MDQA(Section):
    """Questions over many Wikipedia paragraphs, one of which answers them, at several positions."""

    file: str | None = None
    """lost-in-the-middle's oracle or N-document file, by path or http address, instead of the embedded text."""
    documents: int = Field(20, ge=1)
    """Paragraphs in a haystack; the paper takes 20. An N-document file has N."""
    positions: tuple[int, ...] | None = Field((1, 5, 10, 15, 20), min_length=1)
    """Gold positions, from 1; null leaves it where an N-document file has it."""
    lengths: tuple[int, ...] = ()
    """Token budgets to fill with paragraphs, instead of a number of them and positions."""
    depths: tuple[Fraction, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """Relative gold positions where `lengths` are filled."""
    distractors: Literal["random", "relevant"] = "random"
    """The other paragraphs: random, or nearest to the question by BM25. An N-document file has its own."""
    controls: bool = False
    """Also ask each question without paragraphs (`mdqa_closed_book`), and with the gold one alone (`mdqa_oracle`)."""
    paragraphs: int = Field(100, ge=1)
    """Gold paragraphs; of a file, questions."""
    questions_per_paragraph: int = Field(2, ge=1)
    """Questions asked of each gold paragraph."""
    max_new_tokens: int = Field(100, ge=1)
    """Longest answer; the paper takes 100."""
    half: Half = "eval"
    """Which half of the articles; choose settings on `train`, report on `eval`."""


class NIAH(Section):
    """Needles in a haystack of prose: a number in a sentence, one or several, at several lengths and depths."""

    kind: Literal["single", "multi_needle", "multi_value"] = "single"
    """One needle; a needle at each depth, asked one by one; or a value of one key at each depth, asked together."""
    lengths: tuple[int, ...] = Field((1024, 2048, 4096), min_length=1)
    """Token budgets of the haystacks."""
    depths: tuple[Fraction, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """Relative positions of the needles."""
    haystacks: int = Field(20, ge=1)
    """Haystacks of each length; of a single needle, at each depth."""


class Own(Section):
    """Your own haystacks, in the format of training data: `needlework evaluate MODEL --data FILE`."""

    file: str
    """The haystacks (docs/own-data.md)."""
    haystacks: int | None = Field(None, ge=1)
    """How many of them, drawn by the seed; by default all."""
    max_new_tokens: int = Field(100, ge=1)
    """Longest answer."""


class FLenQA(Section):
    """True or False from two facts (FLenQA), with more and more text around them."""

    file: str | None = None
    """The authors' own samples instead of new ones: their file, or its id on the Hugging Face Hub, alonj/FLenQA."""
    tasks: tuple[Literal["MonoRel", "PIR", "Simplified RuleTaker"], ...] = Field(
        ("MonoRel", "PIR", "Simplified RuleTaker"), min_length=1
    )
    """Who is older than whom, what room someone is in, and what follows from a rule."""
    paddings: tuple[Literal["same", "books"], ...] = Field(("same", "books"), min_length=1)
    """What stands around the facts: paragraphs of other samples of the task, or prose."""
    dispersions: tuple[Literal["first", "middle", "last", "random"], ...] = Field(
        ("first", "middle", "last", "random"), min_length=1
    )
    """Where the two facts stand: side by side, or anywhere."""
    lengths: tuple[int, ...] = Field((250, 500, 1000, 2000, 3000), min_length=1)
    """Token budgets of the prompts; of a file, its own lengths."""
    samples: int = Field(20, ge=1)
    """Samples of each task; the authors take 100."""
    chain_of_thought: bool = False
    """Ask for steps before the answer."""
    max_new_tokens: int = Field(400, ge=1)
    """Longest answer; the authors allow 400."""
    source: str | None = None
    """A folder of .txt files for the prose; by default the half of the embedded text that is only evaluated on."""
    official_normalization: bool = False
    """Reproduce the bug of the authors' code, which leaves punctuation in: `not "true"` then counts as true."""


class Knowledge(Section):
    """Closed-book facts: what the model knows without a context."""

    facts: int = Field(500, ge=1)
    """Facts asked."""
    half: Half = "eval"
    """Which half of the facts."""


class Grounding(Section):
    """Questions whose context contradicts what models remember."""

    questions: int = Field(300, ge=1)
    """Questions asked."""
    half: Half = "eval"
    """Which half of the questions."""


class KnownUnknowns(Section):
    """Questions that nobody can answer, and as many with an answer: 46, each asked with its choices in both orders."""


class General(Section):
    """MMLU, HellaSwag, GSM8K, TriviaQA and NQ-Open, or other tasks of lm-evaluation-harness (extra `[eval]`)."""

    tasks: tuple[str, ...] = Field(("mmlu", "hellaswag", "gsm8k", "triviaqa", "nq_open"), min_length=1)
    """Its tasks or groups; each is a benchmark of its own."""
    limit: int | None = Field(500, ge=1)
    """Questions asked of each, drawn by the seed; null asks all."""
    fewshot: int | None = Field(None, ge=0)
    """Examples shown before the question; by default each task's own number."""
    batch_size: int = Field(8, ge=1)
    """Prompts per batch."""
    chat_template: bool = False
    """Ask in the model's chat template; published numbers mostly do without."""
    include_path: str | None = None
    """A folder of task files, which take precedence over those of lm-evaluation-harness."""


class Perplexity(Section):
    """Loss per token on ordinary prose, read from the model itself."""

    lengths: tuple[int, ...] = Field((256, 1024), min_length=1)
    """Tokens of a text."""
    texts: int = Field(40, ge=2)
    """Texts of each length."""
    source: str | None = None
    """A folder of .txt files or a file of questions with their passages; by default the embedded articles."""
    half: Half = "eval"
    """Which half of the embedded articles."""


class Drift(Section):
    """KL per token to the base model, on ordinary prompts and on key-value ones."""

    prompts: int = Field(100, ge=2)
    """Ordinary prompts: questions asked without their text."""
    source: str | None = None
    """A file of questions; by default the embedded ones."""
    half: Half = "eval"
    """Which half of the embedded questions."""
    lengths: tuple[int, ...] = Field((1024,), min_length=1)
    """Token budgets of the key-value haystacks."""
    haystacks: int = Field(8, ge=2)
    """Key-value haystacks of each length."""
    needles: int = Field(8, ge=1)
    """Needles asked of each."""
    max_new_tokens: int = Field(48, ge=1)
    """Longest answer of the base model, at whose tokens the two are compared."""


class TokenLoss(Section):
    """Loss per answer token of key-value needles: template words, key, value, dictionary."""

    lengths: tuple[int, ...] = Field((1024,), min_length=1)
    """Token budgets of the haystacks."""
    haystacks: int = Field(16, ge=2)
    """Haystacks of each length."""
    needles: int = Field(8, ge=1)
    """Needles asked of each, from the first dictionary to the last."""


class Heads(Section):
    """Retrieval score of every attention head on key-value needles."""

    lengths: tuple[int, ...] = Field((1024,), min_length=1)
    """Token budgets of the haystacks."""
    haystacks: int = Field(16, ge=2)
    """Haystacks of each length."""
    needles: int = Field(8, ge=1)
    """Needles asked of each, from the first dictionary to the last."""


MEASURES = ("perplexity", "drift", "token_loss", "heads")
"""Read from the model itself, where benchmarks ask it questions."""


class Evaluate(Section):
    """The benchmarks to run before and after. Those left out are not run."""

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
        raise RecipeError(f"there is no benchmark {unknown[0]!r}. Known: {', '.join(known)}.")
    if not names:
        return given
    return Evaluate(**{name: getattr(given, name) or validate(known[name], {}, f"evaluate.{name}") for name in names})
