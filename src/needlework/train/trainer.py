"""Finetuning on packed rows, on transformers' Trainer: devices, processes, schedules and resuming come from it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.distributed.fsdp import FSDPModule
from torch.nn.functional import cross_entropy
from transformers import PrinterCallback, Trainer, TrainerState, set_seed

from needlework import processes
from needlework.haystack import Haystack
from needlework.models.chat import Renderer
from needlework.models.loading import Precision
from needlework.recipe import Train
from needlework.storage import write_json
from needlework.train import arguments, checkpoints
from needlework.train.compiled import compiled_layers
from needlework.train.cpu_attention import settled
from needlework.train.held_out import VALUE, WHOLE, HeldOut, KeepBest
from needlework.train.metrics import Metrics, Tally
from needlework.train.samples import PackedDataset, collate_sample
from needlework.train.shared_prefix import confirm, packed_attention
from needlework.train.trackers import tracking
from needlework.train.trainable import hold_in_bf16, save_adapter, select
from needlework.train.trainable import merge as merge_lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments


SUMMARY = "summary.json"
STATE = "trainer_state.json"
"""Trainer's own file in a checkpoint."""


class SharedPrefixTrainer(Trainer):
    """Trainer whose loss is the mean over all answer tokens of the global batch.

    Its checkpoints have one form for any number of processes; see `needlework.train.checkpoints`.
    """

    tally: Tally
    held_out: HeldOut | None = None
    renderer: Renderer
    loss_is_scaled_for_ga = True

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the summed cross entropy of one packed row over the answer tokens of the global batch."""
        logits = self.answer_logits(model, inputs)
        assert num_items_in_batch is not None, "Trainer counts labels, which the collator gives"
        loss = cross_entropy(logits, inputs["labels"], reduction="sum") / num_items_in_batch
        # Trainer averages over processes what is already a share of the global mean.
        loss = loss * self.accelerator.num_processes
        self.tally.add(loss.detach(), logits.detach(), inputs)
        return loss

    def answer_logits(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the logits of a packed row's answer tokens, [A, vocabulary]."""
        forward = {key: inputs[key] for key in ("input_ids", "position_ids", "layout", "logits_to_keep")}
        outputs = model(**forward, use_cache=False)
        confirm(inputs["layout"], self.accelerator.unwrap_model(model))
        logits: torch.Tensor = outputs.logits.squeeze(0).float()
        return logits

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """Log a step with what all processes have seen in it, and with the held-out check where it is due."""
        if "loss" in logs:
            logs |= self.tally.collect(self.accelerator.gather, self.accelerator.device)
            if self.held_out and self.held_out.is_due(self.state.global_step, self.state.max_steps):
                logs |= self._check(self.held_out)
        super().log(logs, start_time)

    def _check(self, held_out: HeldOut) -> dict[str, float]:
        model = cast("PreTrainedModel", self.model)

        def logits(inputs: dict[str, Any]) -> torch.Tensor:
            return self.answer_logits(model, self._prepare_inputs(inputs))

        model.eval()
        counts = held_out.count(logits, self.renderer, self.args.process_index, self.args.world_size)
        model.train()
        # Without a backward, the last layers' weights stay whole: a copy that a checkpoint would read and write.
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
        asked, value, whole = self.accelerator.reduce(counts.to(self.accelerator.device)).tolist()
        return {VALUE: value / asked, WHOLE: whole / asked}

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the trained parameters of a checkpoint."""
        assert output_dir is not None
        checkpoints.save_weights(cast("PreTrainedModel", self.model), Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoints.load_weights(cast("PreTrainedModel", self.model), Path(resume_from_checkpoint))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        state = checkpoints.whole(cast(Any, self.optimizer).state_dict())
        if self.args.should_save:
            checkpoints.save_optimizer(state, cast(Any, self.lr_scheduler).state_dict(), Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            state, schedule = checkpoints.read_optimizer(Path(checkpoint))
            checkpoints.load_optimizer(cast(Any, self.optimizer), state)
            cast(Any, self.lr_scheduler).load_state_dict(schedule)


def finetune(
    model: PreTrainedModel,
    renderer: Renderer,
    haystacks: Sequence[Haystack],
    train: Train,
    folder: str | os.PathLike[str],
    report: Callable[[dict[str, Any]], None] = lambda row: None,
    held_out: HeldOut | None = None,
    *,
    precision: Precision = "fp32",
    seed: int = 0,
) -> Path:
    """Finetune a model and return the folder it is saved in.

    Continues from the last complete checkpoint in `folder`, to the same weights as without interruption;
    a finished training is left as it is. Where a launcher started several processes they all call this,
    and the first writes.

    Args:
        model: The model in fp32, changed in place. After a training in bf16 it holds matrices of both precisions:
            load the returned folder to use it. A training that was finished before leaves the model as it is.
        renderer: Its tokenizer and chat template.
        haystacks: The samples, one packed row each, in order.
        train: The settings, as in a recipe; of `check` the caller makes `held_out`.
        folder: Receives `metrics.jsonl`, `logs/` of trackers, checkpoints while training, then `model/` and
            `summary.json`.
        report: Called with each line of the metrics.
        held_out: The check by which the training may stop early, and the best model is kept.
        precision: Of the matrix products: bf16 is autocast.
        seed: Of what is drawn for LoRA.

    Raises:
        ModelError: If exactness is not proven for the model.
        UserError: If the loss is not finite, the disk cannot hold the checkpoints, the processes cannot share a
            batch, or the layers cannot be compiled.
    """
    folder = Path(folder)
    saved = folder / "checkpoints"
    if (folder / SUMMARY).exists():
        return folder / "model"
    folder.mkdir(parents=True, exist_ok=True)
    # The processes meet here, before anything is loaded to where they would all find it.
    training_arguments = arguments.make(train, precision, seed, saved)
    # LoRA's matrices are drawn here.
    set_seed(seed)
    model = select(model, train.trainable, lora_rank=train.lora_rank)
    if precision == "bf16" and not arguments.is_sharding_asked():
        # FSDP2 shards parameters of one type alone.
        hold_in_bf16(model)
    # The last one is kept until the next is known to be complete, and the best.
    count = 3 if held_out else 2
    processes.first(lambda: checkpoints.check_disk(model, folder, count=count, whole=train.merge))
    sizes = {
        "parameters": sum(each.numel() for each in model.parameters()),
        "trainable_parameters": sum(each.numel() for each in model.parameters() if each.requires_grad),
    }
    metrics = Metrics(folder / "metrics.jsonl", report, getattr(haystacks, "place", "sample {}".format))
    compiled = compiled_layers(model) if train.compile else nullcontext()
    with packed_attention(model), checkpoints.full_disk_explained(folder), compiled:
        trainer = _trainer(model, training_arguments, haystacks, renderer, metrics, held_out)
        with tracking(train.trackers, folder / "logs") as trackers:
            for tracker in trackers:
                trainer.add_callback(tracker)
            with settled(saved):
                best = _train(trainer, saved)
        _save(trainer, renderer, folder, train.merge)
    facts = {"haystacks": len(haystacks), **sizes} | best
    processes.first(lambda: _summarize(folder, facts | {"precision": precision}))
    return folder / "model"


def _trainer(
    model: PreTrainedModel,
    training_arguments: TrainingArguments,
    haystacks: Sequence[Haystack],
    renderer: Renderer,
    metrics: Metrics,
    held_out: HeldOut | None,
) -> SharedPrefixTrainer:
    trainer = SharedPrefixTrainer(
        model=model,
        args=training_arguments,
        train_dataset=PackedDataset(haystacks, renderer, training_arguments.world_size),
        data_collator=collate_sample,
        callbacks=[metrics, *([KeepBest(held_out)] if held_out else [])],
    )
    trainer.tally, trainer.held_out, trainer.renderer = Tally(), held_out, renderer
    arguments.check_sharding(trainer.is_fsdp_enabled)
    arguments.sum_in_fp32(trainer.accelerator)
    # Its callback prints a dictionary a step; ours reports.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _train(trainer: SharedPrefixTrainer, saved: Path) -> dict[str, Any]:
    """Train from the last complete checkpoint on, and return what the held-out check found best."""
    last = processes.first(lambda: checkpoints.last_complete(saved))
    state = TrainerState.load_from_json(str(last / STATE)) if last else None
    held_out = trainer.held_out
    if held_out and state and held_out.is_solved(state.best_metric or 0.0):
        # Stopped by the check already, and killed while the model was saved.
        trainer.state = state
    else:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    if held_out is None:
        return {}
    step = cast(int, trainer.state.best_global_step)
    checkpoints.load_weights(cast("PreTrainedModel", trainer.model), checkpoints.folder_of(saved, step))
    return {"best_step": step, VALUE: trainer.state.best_metric}


def _save(trainer: SharedPrefixTrainer, renderer: Renderer, folder: Path, merge: bool) -> None:
    """Save an ordinary Hugging Face folder, or LoRA's adapter; every process must take part."""
    model = cast(Any, trainer.accelerator.unwrap_model(trainer.model))
    is_adapter = hasattr(model, "merge_and_unload") and not merge
    if hasattr(model, "merge_and_unload") and merge:
        model = merge_lora(model)
    weights = checkpoints.whole(_untied(model)) if trainer.is_fsdp_enabled else None

    def write() -> None:
        temporary, target = folder / "model.tmp", folder / "model"
        shutil.rmtree(temporary, ignore_errors=True)
        if is_adapter:
            save_adapter(model, temporary, weights)
        else:
            # What training taught as the end of a turn may be another token than the model stops at.
            ends = renderer.ends(model.generation_config)
            model.generation_config.eos_token_id = ends if len(ends) > 1 else next(iter(ends), None)
            model.save_pretrained(temporary, state_dict=weights)
        renderer.tokenizer.save_pretrained(temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)

    processes.first(write)


def _untied(model: Any) -> dict[str, torch.Tensor]:
    """Return a model's state without what is tied to other weights, which shards do not tell."""
    tied = getattr(model, "all_tied_weights_keys", {})
    return {name: each for name, each in model.state_dict().items() if name not in tied}


def _summarize(folder: Path, facts: dict[str, Any]) -> None:
    """Write `summary.json`, whose presence says that the training is finished; drop the checkpoints."""
    last = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    peaks = {"peak_memory_gib": round(peak, 2)}
    if torch.cuda.is_available():
        peaks["peak_gpu_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    summary = {key: last[key] for key in ("seconds", "answers", "tokens")} | {"steps": last["step"]} | facts
    write_json(folder / SUMMARY, summary | peaks)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
