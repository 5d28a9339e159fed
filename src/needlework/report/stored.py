"""What a comparison, a report and the gate read of a run's files, which other programs and people may have written.

Here are the forms of the files, which docs/records.md describes, and one sentence about the first part that has
another.
"""

from __future__ import annotations

import json
import reprlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from needlework.errors import DataError
from needlework.visible import visible

AGAIN = "delete the file and run the command that writes it again"

_NAMED = {"dict_type": "a JSON object", "model_type": "a JSON object", "list_type": "a JSON list"}
"""What pydantic calls by Python's names."""

Text = Annotated[str, AfterValidator(visible)]


class Form(BaseModel):
    """A part of a file. What else it holds is kept."""

    # json reads NaN and infinity, which no chart can show and no browser can parse.
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Sides(Form):
    """A number of the first run and of another."""

    before: float
    after: float


class Counts(Form):
    """Prompts that were too long for the first run, and for another."""

    before: int
    after: int


class SaidSides(Form):
    """How the first run was computed, and another."""

    before: str
    after: str


class Contrast(Sides):
    """The shape of a benchmark's curve, and how it changed."""

    change: float
    low: float
    high: float


class Value(Contrast):
    """One value of a measure."""

    n: int
    clusters: int
    p: float


class Row(Value):
    """One row of a benchmark."""

    before_low: float
    before_high: float
    after_low: float
    after_high: float
    discordant: float | None = None
    design_effect: float | None = None


class Benchmark(Form):
    """The rows of a benchmark or of one of its scores, and what limits them."""

    title: Text
    meaning: Text = ""
    overall: Row
    by_position: dict[str, Row] = {}
    by_length: dict[str, Row] = {}
    by_length_and_position: dict[str, dict[str, Row]] = {}
    middle_dip: Contrast | None = None
    primacy: Contrast | None = None
    skipped: Counts | None = None
    unlike: dict[str, SaidSides] = {}
    cut: Sides | None = None
    limit: int | None = None

    @model_validator(mode="after")
    def _is_cut_at_a_limit(self) -> Benchmark:
        if self.cut and self.limit is None:
            raise ValueError("cut without its limit")
        return self


class Side(Form):
    """One run against the first."""

    after: str
    benchmarks: dict[str, Benchmark]
    measures: dict[str, dict[str, Value]] = {}


class Comparison(Side):
    """`comparison.json`."""

    before: str
    level: float
    method: str
    others: list[Side] = []
    mean: Side | None = None
    folders: list[str] = []


class Evaluated(Form):
    """A benchmark in `summary.json`."""

    titles: dict[str, str]
    seconds: float
    n: int | None = None
    answered_by: dict[str, str] = {}
    meanings: dict[str, str] = {}
    cut: int = 0
    max_new_tokens: int | None = None

    @model_validator(mode="after")
    def _is_cut_at_a_limit(self) -> Evaluated:
        if self.cut and not (self.n and self.max_new_tokens):
            raise ValueError("cut without n or max_new_tokens")
        return self


class Measured(Form):
    """A measure in `summary.json`."""

    title: str | None = None


class Evaluation(Form):
    """`summary.json` of an evaluation."""

    model: str
    benchmarks: dict[str, Evaluated]
    measures: dict[str, Measured] = {}


class Step(Form):
    """A line of `train/metrics.jsonl`."""

    step: int
    loss: float
    answer_accuracy: float


def read(form: type[Form], path: Path, command: str) -> dict[str, Any]:
    """Return what a JSON file holds.

    Args:
        form: What it must hold.
        path: The file.
        command: Writes the file.

    Raises:
        DataError: If it is missing or has another form; names the part.
    """
    return parse(form, read_text(path, command), str(path))


def parse(form: type[Form], content: str, where: str) -> dict[str, Any]:
    """Return what JSON holds; `where` it stands is said in an error."""
    try:
        value = form.model_validate(json.loads(content))
    except ValidationError as error:
        raise DataError(f"{_fault(error, where)}; {AGAIN}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error}; {AGAIN}") from None
    return value.model_dump(exclude_unset=True, exclude_none=True)


def _fault(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    *place, last = [where, *map(str, first["loc"])]
    if first["type"] == "missing":
        return f"{', '.join(place)} lacks {last!r}"
    if first["type"] == "value_error":
        return f"{', '.join([*place, last])}: {first['msg'].removeprefix('Value error, ')}"
    wanted = _NAMED.get(first["type"], first["msg"].removeprefix("Input should be "))
    return f"{', '.join([*place, last])} should be {wanted}, not {reprlib.repr(first['input'])}"


def read_text(path: Path, command: str) -> str:
    """Return the text of a file that `command` writes.

    Raises:
        DataError: If it is missing or cannot be read.
    """
    try:
        return present(path, command).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}; {AGAIN}") from None


def present(path: Path, command: str) -> Path:
    """Return the path of a file that is there.

    Raises:
        DataError: If it is missing.
    """
    if not path.exists():
        raise DataError(f"{path.parent} has no {path.name}; run `{command}` first")
    return path
