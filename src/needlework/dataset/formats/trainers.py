"""What Axolotl and LLaMA-Factory need in addition to the rows: a configuration that trains on the answers only.

Both are started from the dataset's folder. They use the recipe's training settings unchanged; the batch size
counts rows. Their own defaults would truncate long rows, or drop them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from needlework.dataset.formats.base import Files, Whole
from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import ModelError
from needlework.models import embedded
from needlework.models.families import PROJECTIONS

MARGIN = 64
"""Tokens that a trainer's own rendering may need beyond ours, such as the newline after the end of turn."""


def check(data: SyntheticDataset) -> None:
    """Refuse models without a chat template.

    Raises:
        ModelError: If the model has none.
    """
    if data.renderer.tokenizer.chat_template is None:
        raise ModelError("the model has no chat template, by which the trainer would render the rows.")


def axolotl(whole: Whole) -> Files:
    """Make `config.yaml` for `axolotl train config.yaml`."""
    train = whole.settings["train"]
    tokenizer = whole.data.renderer.tokenizer
    config: dict[str, Any] = {
        "base_model": _model(whole),
        "datasets": [
            {
                "path": "data",
                "split": "train",
                "type": "chat_template",
                "field_messages": "messages",
                "message_property_mappings": {"role": "role", "content": "content"},
                "roles_to_train": ["assistant"],
                "train_on_eos": "turn",
            }
        ],
        "chat_template": "tokenizer_default",
        "train_on_inputs": False,
        "sequence_len": whole.data.max_tokens + MARGIN,
        "excess_length_strategy": "raise",
        "val_set_size": 0.0,
        "dataset_prepared_path": "prepared",
        "output_dir": "output",
        "micro_batch_size": 1,
        "gradient_accumulation_steps": train["batch_size"],
        "num_epochs": train["epochs"],
        "learning_rate": train["learning_rate"],
        "lr_scheduler": _schedule(train),
        "warmup_steps": train["warmup_steps"],
        "max_grad_norm": train["max_grad_norm"],
        "gradient_checkpointing": train["gradient_checkpointing"],
        "optimizer": "adamw_torch",
        "bf16": "auto",
        "logging_steps": 1,
        "seed": whole.settings["seed"],
    }
    if (marker := _end_of_turn(whole)) not in ("", tokenizer.eos_token):
        config["eot_tokens"] = [marker]
    if train["trainable"] == "attention":
        config["unfrozen_parameters"] = [r"self_attn\..*_proj"]
    elif train["trainable"] == "lora":
        config |= {
            "adapter": "lora",
            "lora_r": train["lora_rank"],
            "lora_alpha": 2 * train["lora_rank"],
            "lora_target_modules": list(PROJECTIONS),
        }
    return [("config.yaml", [_yaml("axolotl train config.yaml", config)])]


def llamafactory(whole: Whole) -> Files:
    """Make `dataset_info.json`, and `config.yaml` for `llamafactory-cli train config.yaml`."""
    train = whole.settings["train"]
    tags = {"role_tag": "role", "content_tag": "content"}
    roles = {"user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
    dataset = {"file_name": "data", "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags | roles}
    config: dict[str, Any] = {
        "model_name_or_path": _model(whole),
        "stage": "sft",
        "do_train": True,
        "dataset_dir": ".",
        "dataset": "needlework",
        # Without a name, the template comes from the tokenizer.
        "template": None,
        "enable_thinking": False,
        "train_on_prompt": False,
        "mask_history": False,
        "packing": False,
        "cutoff_len": whole.data.max_tokens + MARGIN,
        "output_dir": "output",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": train["batch_size"],
        "num_train_epochs": train["epochs"],
        "learning_rate": train["learning_rate"],
        "lr_scheduler_type": _schedule(train),
        "warmup_steps": train["warmup_steps"],
        "max_grad_norm": train["max_grad_norm"],
        "disable_gradient_checkpointing": not train["gradient_checkpointing"],
        "logging_steps": 1,
        "report_to": "none",
        "seed": whole.settings["seed"],
    }
    if train["trainable"] == "attention":
        # All layers: more than any model has.
        config |= {
            "finetuning_type": "freeze",
            "freeze_trainable_modules": "self_attn",
            "freeze_trainable_layers": 10_000,
        }
    elif train["trainable"] == "lora":
        config |= {
            "finetuning_type": "lora",
            "lora_rank": train["lora_rank"],
            "lora_alpha": 2 * train["lora_rank"],
            "lora_target": ",".join(PROJECTIONS),
        }
    else:
        config["finetuning_type"] = "full"
    return [
        ("dataset_info.json", [json.dumps({"needlework": dataset}, indent=2).encode() + b"\n"]),
        ("config.yaml", [_yaml("llamafactory-cli train config.yaml", config)]),
    ]


def _schedule(train: Mapping[str, Any]) -> str:
    """Return the schedule's name in transformers, whose `constant` has no warm-up."""
    schedule = str(train["schedule"])
    return "constant_with_warmup" if schedule == "constant" and train["warmup_steps"] else schedule


def _yaml(command: str, config: dict[str, Any]) -> bytes:
    return f"# In this folder: {command}\n{yaml.safe_dump(config, sort_keys=False)}".encode()


def _model(whole: Whole) -> str:
    name = str(whole.settings["model"]["name"])
    if name == embedded.NAME:
        return embedded.HUB
    folder = Path(name).expanduser()
    # The trainer is started from another folder.
    return str(folder.resolve()) if folder.is_dir() else name


def _end_of_turn(whole: Whole) -> str:
    """Return what the chat template writes after an answer."""
    haystack = whole.data[0]
    needle = haystack.needles[0]
    return whole.data.renderer.completion(haystack, needle).rpartition(needle.answer)[2].strip()
