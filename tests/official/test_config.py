from __future__ import annotations

from pathlib import Path

import pytest

from needlework.errors import RecipeError
from needlework.official.config import load
from needlework.tasks.multi_subkey import MultiSubkey
from needlework.tasks.simple_dict import SimpleDict
from tests.official.conftest import MULTI, SIMPLE, documented, write_config


def test_the_simple_configuration_gives_the_tasks_defaults(tmp_path: Path) -> None:
    config = load(write_config(tmp_path))
    assert config.task() == SimpleDict()
    assert (config.num_train, config.num_eval, config.data_kwargs.num_dicts) == (350, 150, 85)
    assert (config.frac_0, config.frac_top5, config.task_kwargs.max_token) == (0.05, 0.03, 4096)


def test_every_key_of_the_simple_task_is_heeded(tmp_path: Path) -> None:
    changes = {
        "gold_dict_size": 5,
        "dict_size_range": "[2, 4]",
        "subkey_size_range": "[1, 2]",
        "val_size_range": "[6, 6]",
        "prompt_name": "form2_unshuffled_singlesk",
        "name_random": True,
    }
    assert load(write_config(tmp_path, **changes)).task() == SimpleDict(
        template=False,
        keys_per_gold=5,
        keys_per_dict=(2, 3, 4),
        key_digits=(1, 2),
        value_digits=(6,),
        shuffle_names=True,
    )


def test_every_key_of_the_multi_subkey_task_is_heeded(tmp_path: Path) -> None:
    assert load(write_config(tmp_path, MULTI)).task() == MultiSubkey(has_common=0.6, per_common=0.3, shuffle_names=True)
    changes = {
        "gold_dict_size": 1,
        "dict_size_range": "[4, 5]",
        "gold_key_size": 6,
        "key_size_range": "[5, 7]",
        "common_subkey_size": 4,
        "prob_ng_per_common": 1.0,
        "key_common_ordered": True,
        "subkey_size_range": "[2, 3]",
        "val_size_range": "[1, 4]",
        "prompt_name": "form1_unshuffled",
        "key_prompt_shuffled": False,
        "name_random": False,
    }
    assert load(write_config(tmp_path, MULTI, **changes)).task() == MultiSubkey(
        template=False,
        keys_per_gold=1,
        keys_per_dict=(4, 5),
        subkeys_per_gold=6,
        subkeys_per_key=(5, 6, 7),
        common_subkeys=4,
        has_common=0.6,
        per_common=1.0,
        ordered_common=True,
        shuffle_query=False,
        subkey_digits=(2, 3),
        value_digits=(1, 2, 3, 4),
    )


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {marker}']",
        "!!python/object/new:os.system ['touch {marker}']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/tuple [1, !!python/object/apply:os.system ['touch {marker}']]",
    ],
)
def test_tags_that_could_run_code_are_refused_and_run_nothing(tmp_path: Path, tag: str) -> None:
    marker = tmp_path / "ran"
    path = write_config(tmp_path, num_train=tag.format(marker=marker))
    with pytest.raises(RecipeError, match=r"config.yaml, line 2 has the tag !!python/\S+, which could run code"):
        load(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SIMPLE.replace("num_dicts", "num_dict"), "lacks the key 'data_kwargs.num_dicts'"),
        (SIMPLE + "frac_1: 0\n", "has no key 'frac_1'. Did you mean 'frac_0'?"),
        (SIMPLE.replace("  name_random", "  key_prompt_shuffled: False\n  name_random"), "no key 'task_kwargs.key_pro"),
        (SIMPLE.replace("'SimpleDictRetrieval'", "SimpleRetrieval"), "cls is 'SimpleRetrieval': input should be 'Simp"),
        (
            SIMPLE.replace("tuple [3, 4]", "tuple [4, 3]"),
            "data_kwargs.dict_size_range is (4, 3): give the",
        ),
        (SIMPLE.replace("numerical", "vocab"), "data_kwargs.subkey_param is 'vocab': input should be 'numerical'"),
        (SIMPLE.replace("idx: -1", "idx: 0"), "data_kwargs.gold_key_idx is 0: input should be -1"),
        (SIMPLE.replace("form2", "form3"), "prompt_name is 'form3_unshuffled_singlesk_wtemplate': string should match"),
        (SIMPLE.replace("'simpledict", "'../simpledict"), "use letters and digits"),
        (MULTI.replace("prompt_shuffled: True", "prompt_shuffled: False"), "key_prompt_shuffled is False: "),
        (SIMPLE.replace("0.05", "1.5"), "frac_0 is 1.5"),
        (SIMPLE.replace("!!python/tuple [3, 4]", "!!python/tuple 3"), "expected a sequence node"),
        (SIMPLE + "]", "is not YAML"),
        (SIMPLE + "date: 2024-13-01", "is not YAML: month must be in 1..12"),
        ("- 1", "should hold keys and values, not a list"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        load(write_config(tmp_path, text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot read the configuration .*none\.yaml: No such file"):
        load(tmp_path / "none.yaml")


def test_the_configurations_in_the_docs_are_read(tmp_path: Path) -> None:
    loaded = [load(write_config(tmp_path, text)) for text in documented()]
    assert [type(config.task()) for config in loaded] == [SimpleDict, SimpleDict, MultiSubkey]
    assert [config.task_kwargs.max_token for config in loaded] == [4096, 24576, 4096]
