"""The configuration files of the paper's own code.

Keys and their meaning are those of its repository, github.com/edixiong/artificial-needles, commit b269b50:

    data-generation/dataset/yaml/simpledict_ndicts85_34_{w,n}template_ordered_5_3.yaml    the only two files
    data-generation/scripts/config.py                                                     the keys of both tasks
    data-generation/scripts/dict_builder.py                                               what they do

Its script loads the files in a way that executes code in them; here only `!!python/tuple` is understood. For the
multi-subkey task it has the classes but no file, and the script refuses the task: that such files would say
`cls: DictRetrieval` is inferred from the names of the classes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, ValidationInfo, field_validator

from needlework import plain_yaml
from needlework.errors import RecipeError
from needlework.sections import Fraction, Section, validate
from needlework.tasks.multi_subkey import MultiSubkey
from needlework.tasks.protocol import Task
from needlework.tasks.simple_dict import SimpleDict


def _ascending(bounds: tuple[int, int]) -> tuple[int, int]:
    if bounds[0] > bounds[1]:
        raise ValueError("give the smaller number first")
    return bounds


def _file_name(text: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", text):
        raise ValueError("file names begin with it, so use letters and digits, and . + - or _ after the first")
    return text


Range = Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_ascending)]


class DictData(Section):
    """`data_kwargs` of the simple task."""

    num_dicts: PositiveInt
    gold_dict_size: PositiveInt
    dict_size_range: Range
    gold_key_idx: Literal[-1]
    """Place of the gold key in its dictionary; -1 is random, as in all known configurations."""
    subkey_size_range: Range
    val_size_range: Range
    subkey_param: Literal["numerical"]
    val_param: Literal["numerical"]


class MultiData(DictData):
    """`data_kwargs` of the multi-subkey task."""

    gold_key_size: PositiveInt
    key_size_range: Range
    common_subkey_size: PositiveInt
    prob_ng_has_common: Fraction
    prob_ng_per_common: Fraction
    key_common_ordered: bool


class DictPrompt(Section):
    """`task_kwargs` of the simple task."""

    prompt_name: Annotated[str, Field(pattern="^form2_unshuffled_singlesk(_wtemplate)?$")]
    max_token: PositiveInt
    name_random: bool

    @property
    def template(self) -> bool:
        return self.prompt_name.endswith("_wtemplate")


class MultiPrompt(DictPrompt):
    """`task_kwargs` of the multi-subkey task. Of the names of its prompts, only what they must contain is known."""

    prompt_name: Annotated[str, Field(pattern="_shuffled|_unshuffled")]
    key_prompt_shuffled: bool

    @field_validator("key_prompt_shuffled")
    @classmethod
    def _as_the_prompt_is_named(cls, shuffled: bool, info: ValidationInfo) -> bool:
        name = str(info.data.get("prompt_name"))
        if ("_shuffled" in name) != shuffled:
            raise ValueError(f"prompt_name is {name!r}")
        return shuffled


class Config(Section):
    """A configuration file of the simple task."""

    cls: Literal["SimpleDictRetrieval", "DictRetrieval"]
    num_train: NonNegativeInt
    num_eval: NonNegativeInt
    tokenizer: Literal["llama", "tiktoken"]
    """What the script counts with; here the tokenizer of any model."""
    data_kwargs: DictData
    task_kwargs: DictPrompt
    frac_0: Fraction
    """Share of the samples of a split whose gold dictionary is put first."""
    frac_top5: Fraction
    """Share of the samples of a split whose gold dictionary is put anywhere in the front."""
    alias: Annotated[str, AfterValidator(_file_name)]
    """Beginning of the names of the files."""
    name_str: str = ""
    """Written by the script; not used."""

    def task(self) -> Task:
        """Return the task with the parameters of the configuration."""
        data = self.data_kwargs
        return SimpleDict(
            template=self.task_kwargs.template,
            keys_per_gold=data.gold_dict_size,
            keys_per_dict=_all(data.dict_size_range),
            key_digits=_all(data.subkey_size_range),
            value_digits=_all(data.val_size_range),
            shuffle_names=self.task_kwargs.name_random,
        )


class MultiConfig(Config):
    """A configuration file of the multi-subkey task."""

    data_kwargs: MultiData
    task_kwargs: MultiPrompt

    def task(self) -> Task:
        """Return the task with the parameters of the configuration."""
        data = self.data_kwargs
        return MultiSubkey(
            template=self.task_kwargs.template,
            keys_per_gold=data.gold_dict_size,
            keys_per_dict=_all(data.dict_size_range),
            subkeys_per_gold=data.gold_key_size,
            subkeys_per_key=_all(data.key_size_range),
            common_subkeys=data.common_subkey_size,
            has_common=data.prob_ng_has_common,
            per_common=data.prob_ng_per_common,
            ordered_common=data.key_common_ordered,
            shuffle_query=self.task_kwargs.key_prompt_shuffled,
            subkey_digits=_all(data.subkey_size_range),
            value_digits=_all(data.val_size_range),
            shuffle_names=self.task_kwargs.name_random,
        )


def _all(bounds: tuple[int, int]) -> tuple[int, ...]:
    return tuple(range(bounds[0], bounds[1] + 1))


class _Loader(plain_yaml.Loader):
    """Reads plain YAML and tuples."""


def _tuple(loader: _Loader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node))


def _refuse(loader: _Loader, suffix: str, node: yaml.Node) -> None:
    line = node.start_mark.line + 1
    raise RecipeError(f"line {line} has the tag !!python/{suffix}, which could run code. Remove it.")


_PYTHON = "tag:yaml.org,2002:python/"
_Loader.add_constructor(f"{_PYTHON}tuple", _tuple)
_Loader.add_multi_constructor(_PYTHON, _refuse)


def load(path: Path) -> Config:
    """Read a configuration file.

    Raises:
        RecipeError: If it cannot be read, or a key is unknown, missing or wrong; suggests the nearest.
    """
    try:
        values = plain_yaml.parse(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise RecipeError(f"cannot read the configuration {path}: {reason}.") from None
    except ValueError as error:
        raise RecipeError(f"{path} is not YAML: {error}.") from None
    except RecipeError as error:
        raise RecipeError(f"{path}, {error}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} should hold keys and values, not a {type(values).__name__}.")
    return parse(values, str(path))


def parse(values: dict[str, Any], what: str) -> Config:
    """Check the keys and values of a configuration.

    Args:
        values: As in the file, or in a manifest.
        what: How to refer to it in a message.

    Raises:
        RecipeError: Names the first wrong key, what it got and what it takes.
    """
    return validate(MultiConfig if values.get("cls") == "DictRetrieval" else Config, values, what)
