"""Reading FLenQA as its authors publish it: JSON, zipped or not, or Parquet on the Hugging Face Hub."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from needlework.errors import DataError

_SUFFIXES = (".jsonl", ".json", ".zip", ".parquet")


class Row(BaseModel):
    """What is used of a row: one prompt of a sample."""

    global_sample_id: Annotated[str, BeforeValidator(str)]
    dataset: Literal["MonoRel", "PIR", "Simplified RuleTaker"]
    label: Annotated[Literal["True", "False"], BeforeValidator(str)]
    question: str = Field(alias="assertion/question")
    mixin: str
    """The facts and their padding."""
    rule: Any = None
    """RuleTaker's; a list, which the official prompt shows with its brackets."""
    padding_type: Literal["same", "books"]
    dispersion: Literal["first", "middle", "last", "random"]
    ctx_size: int

    @property
    def cell(self) -> tuple[str, str, str, int]:
        """Task, padding, dispersion and length."""
        return self.dataset, self.padding_type, self.dispersion, self.ctx_size


def read_rows(file: str) -> Iterator[Row]:
    """Yield the rows of a file.

    Args:
        file: A path of JSON lines or an array (`.jsonl`, `.json`), of either in a `.zip`, or of Parquet; or the id of
            a data set on the Hugging Face Hub, whose Parquet files are downloaded.

    Raises:
        DataError: If it cannot be read or downloaded, or a field is missing or wrong; names the file and the line.
    """
    for path in _paths(file):
        for place, value in _values(path):
            try:
                row = Row.model_validate(value)
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(map(str, first["loc"]))
                fault = (
                    f"lacks the field {field!r}"
                    if first["type"] == "missing"
                    else f"{field or 'it'} is {str(first['input'])[:40]!r}: {first['msg'].lower()}"
                )
                raise DataError(f"{path}, {place}: {fault}") from None
            if row.dataset == "Simplified RuleTaker" and not row.rule:
                raise DataError(f"{path}, {place}: lacks the field 'rule'")
            yield row


def _paths(file: str) -> list[Path]:
    path = Path(file)
    if path.exists() or path.suffix in _SUFFIXES:
        return [path]
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(file, repo_type="dataset", allow_patterns="*.parquet")
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise DataError(
            f"{file} is not a file, and not a data set that the Hugging Face Hub lets download: {reason}"
        ) from None
    if found := sorted(Path(folder).rglob("*.parquet")):
        return found
    raise DataError(f"the data set {file} on the Hugging Face Hub has no Parquet files.")


def _values(path: Path) -> Iterator[tuple[str, object]]:
    """Yield what a file holds, each value with its place."""
    if path.suffix == ".parquet":
        yield from ((f"row {number}", value) for number, value in enumerate(_parquet(path), start=1))
    elif (text := _text(path)).lstrip().startswith("["):
        yield from ((f"row {number}", value) for number, value in enumerate(_loads(text, str(path)), start=1))
    else:
        # Not splitlines, which also splits at characters that JSON allows inside strings.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"line {number}", _loads(line, f"{path}, line {number}")


def _parquet(path: Path) -> list[Any]:
    from pyarrow import ArrowException, parquet

    try:
        with path.open("rb") as file:
            rows: list[Any] = parquet.read_table(file).to_pylist()
    except ArrowException as error:
        raise DataError(f"{path} is not Parquet: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    return rows


def _text(path: Path) -> str:
    try:
        content = _unzipped(path) if path.suffix == ".zip" else path.read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"cannot read {path}, line {line}: not UTF-8 text") from None


def _unzipped(path: Path) -> bytes:
    """Return the JSON file of an archive; macOS adds files of its own."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [
                each for each in archive.namelist() if each.endswith((".json", ".jsonl")) and "__MACOSX" not in each
            ]
            if len(names) != 1:
                raise DataError(f"{path} holds {len(names)} .json or .jsonl files, not one.")
            return archive.read(names[0])
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is not a zip file: {error}") from None


def _loads(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON: {error.msg} at column {error.colno}") from None
