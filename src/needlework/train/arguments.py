"""The settings of a training, as transformers' TrainingArguments."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from transformers import TrainingArguments

from needlework import processes
from needlework.errors import UserError
from needlework.models.loading import Precision
from needlework.recipe import Train


def make(train: Train, precision: Precision, seed: int, checkpoints: Path) -> TrainingArguments:
    """Return the arguments for this process.

    Args:
        train: The settings, the same in every process.
        precision: Of the matrix products.
        seed: Of the training.
        checkpoints: The folder of the checkpoints.

    Raises:
        UserError: If the batch cannot be split over the processes, or they are to shard by FSDP 1.
    """
    _choose_sharding()
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        # One packed row holds K answers and fills the processor; a batch is accumulated from rows.
        per_device_train_batch_size=1,
        gradient_accumulation_steps=processes.share(train.batch_size),
        num_train_epochs=train.epochs,
        learning_rate=train.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(train.schedule, train.schedule),
        warmup_steps=train.warmup_steps,
        weight_decay=0.0,
        max_grad_norm=train.max_grad_norm,
        bf16=precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        # A setting of the saved model; training itself uses no cache.
        use_cache=True,
        activation_checkpointing=train.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if train.gradient_checkpointing else None,
        # Samples are independent draws, so their order carries nothing; a fixed one makes resuming exact.
        train_sampling_strategy="sequential",
        # Every trained parameter takes part in every row.
        ddp_find_unused_parameters=False,
        # Gradients are divided after each row; until the batch's last, each process would hold them whole.
        accelerator_config={"gradient_accumulation_kwargs": {"sync_each_batch": is_sharding_asked()}},
        ddp_timeout=int(processes.PATIENCE.total_seconds()),
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        logging_steps=1,
        # Otherwise a loss that is not finite is logged as the last finite one.
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=train.checkpoint_steps,
        seed=seed,
        disable_tqdm=True,
        report_to="none",
    )
    # Where the recipe says fp32, it would take what `accelerate launch` exports from the user's configuration.
    arguments.mixed_precision = "bf16" if precision == "bf16" else "no"
    # With several GPUs visible to one process Trainer would give each a row; processes do that better.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _choose_sharding() -> None:
    """Settle what accelerate is to shard by, where FSDP is asked for."""
    if not is_sharding_asked():
        return
    if os.environ.setdefault("FSDP_VERSION", "2") != "2":
        raise processes.agreed(
            UserError(
                f"FSDP {os.environ['FSDP_VERSION']} cannot train a part of the parameters; FSDP 2 can. "
                f"Launch with --fsdp_version 2."
            )
        )
    # Without it all layers would be gathered at once.
    os.environ.setdefault("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP")


def check_sharding(is_sharded: bool) -> None:
    """Refuse to train unsharded where FSDP is asked for, which accelerate would do silently.

    Raises:
        UserError: If accelerate does not shard, because there is no GPU or one process without a launcher.
    """
    if is_sharding_asked() and not is_sharded:
        raise processes.agreed(
            UserError("accelerate shards (FSDP) on GPUs under a launcher only; leave out --use_fsdp, or train there.")
        )


def sum_in_fp32(accelerator: Accelerator) -> None:
    """Let FSDP2 add gradients up in fp32, over rows and over processes; accelerate adds them up in bf16."""
    if accelerator.is_fsdp2 and (policy := accelerator.state.fsdp_plugin.mixed_precision_policy):
        accelerator.state.fsdp_plugin.mixed_precision_policy = replace(policy, reduce_dtype=torch.float32)


def is_sharding_asked() -> bool:
    """Return whether the launcher was told to shard by FSDP."""
    # This is how `accelerate launch` hands it on.
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
