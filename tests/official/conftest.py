"""Configurations in the form of the paper's own, and real samples that its generator wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

# The keys and values of its simpledict_ndicts85_34_wtemplate_ordered_5_3.yaml.
SIMPLE = """cls: 'SimpleDictRetrieval'
num_train: 350
num_eval: 150
tokenizer: 'llama'
data_kwargs:
  num_dicts: 85
  gold_dict_size: 3
  dict_size_range: !!python/tuple [3, 4]
  gold_key_idx: -1
  subkey_size_range: !!python/tuple [3, 4]
  val_size_range: !!python/tuple [3, 4]
  subkey_param: 'numerical'
  val_param: 'numerical'
task_kwargs:
  prompt_name: 'form2_unshuffled_singlesk_wtemplate'
  max_token: 4096
  name_random: False
frac_0: 0.05
frac_top5: 0.03
alias: 'simpledict_ndicts85_34_wtemplate_ordered_5_3'
name_str: simpledict_ndicts85_gd3_drange3-4
"""
# No such file is public; the keys are those of its class, the values ours.
MULTI = """cls: DictRetrieval
num_train: 150
num_eval: 50
tokenizer: tiktoken
data_kwargs:
  num_dicts: 49
  gold_dict_size: 2
  dict_size_range: !!python/tuple [2, 3]
  gold_key_size: 3
  key_size_range: !!python/tuple [3, 4]
  common_subkey_size: 2
  prob_ng_has_common: 0.6
  prob_ng_per_common: 0.3
  key_common_ordered: False
  gold_key_idx: -1
  subkey_size_range: !!python/tuple [3, 3]
  val_size_range: !!python/tuple [4, 4]
  subkey_param: numerical
  val_param: numerical
task_kwargs:
  prompt_name: form1_shuffled_wtemplate
  max_token: 4096
  name_random: True
  key_prompt_shuffled: True
frac_0: 0.0
frac_top5: 0.0
alias: multi
"""


def write_config(folder: Path, text: str = SIMPLE, **changes: object) -> Path:
    """Write a configuration, with other values for some keys."""
    for key, value in changes.items():
        text, count = re.subn(rf"^(\s*){key}:.*$", rf"\g<1>{key}: {value}", text, flags=re.MULTILINE)
        assert count == 1
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def documented() -> list[str]:
    """Return the configurations in the docs: the official one, ours for 24K tokens, ours for the multi-subkey task."""
    page = Path(__file__).parents[2] / "docs" / "official.md"
    return re.findall(r"```yaml\n(cls:.*?)```", page.read_text(), flags=re.DOTALL)


def official_samples(template: bool) -> list[dict[str, Any]]:
    """Return samples of 60 dictionaries that the paper's own generator wrote."""
    name = "template" if template else "no_template"
    lines = (Path(__file__).parent / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
