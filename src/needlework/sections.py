"""The building blocks of settings: typed keys with their help, and one sentence about the first that is wrong."""

from __future__ import annotations

import difflib
import reprlib
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from needlework.errors import RecipeError

_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 2, 200, 200

Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of a recipe. Unknown keys are errors, so that no setting is silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_switch(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads `yes` and `on` as true, and pydantic takes true for 1.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("give a value, {} for a section of defaults, or null to leave it out, not true or false")
        return value


Kind = TypeVar("Kind", bound=BaseModel)


def validate(kind: type[Kind], values: dict[str, Any], what: str) -> Kind:
    """Check the values of a section.

    Args:
        kind: The section's type.
        values: Its keys and values, as YAML gives them.
        what: What to call it in a message.

    Raises:
        RecipeError: Names the first wrong key, what it got and what it takes.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"]))
        if first["type"] == "missing" and isinstance(given := first["loc"][-1], int):
            # A list is too short; each place in which nothing stands is an error of its own.
            places = [each["loc"] for each in error.errors() if each["loc"][:-1] == first["loc"][:-1]]
            path = ".".join(map(str, first["loc"][:-1]))
            wanted = given + len(places)
            raise RecipeError(f"{path} is {_BRIEF.repr(first['input'])}: give {wanted} values, not {given}.") from None
        if first["type"] == "missing":
            raise RecipeError(f"{what} lacks the key {path!r}.") from None
        if first["type"] == "extra_forbidden":
            known = _fields(kind, first["loc"][:-1])
            raise RecipeError(f"{what} has no key {path!r}.{suggest(str(first['loc'][-1]), known)}") from None
        # pydantic's own words are Python's: YAML has lists, no classes, and no "value error".
        message = first["msg"].removeprefix("Value error, ")
        message = (message[0].lower() + message[1:]).replace("tuple", "list")
        if first["type"] == "model_type":
            message = "give keys and values, or {} for the defaults"
        # A whole section in front of the message would hide it.
        is_section = first["type"] == "value_error" and isinstance(first["input"], dict)
        start = path if is_section else f"{path} is {_BRIEF.repr(first['input'])}"
        raise RecipeError(f"{start}: {message}.") from None


def _fields(section: Any, path: tuple[int | str, ...]) -> list[str]:
    for key in path:
        annotation = section.model_fields[str(key)].annotation
        options = getattr(annotation, "__args__", (annotation,))
        section = next(option for option in options if hasattr(option, "model_fields"))
    return list(section.model_fields)


def suggest(name: str, known: list[str]) -> str:
    """Return a sentence to append to an error: the nearest known name, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known)}."
