"""Finetuning on packed rows, on transformers' Trainer: checkpoints, resume and devices come from it."""

from __future__ import annotations

import json
import resource
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from safetensors import SafetensorError
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from needlework.errors import UserError
from needlework.haystack import Haystack
from needlework.models.chat import PackedRow, Renderer
from needlework.storage import write_json
from needlework.train.collator import collate
from needlework.train.metrics import COMPLETE, Metrics, Tally
from needlework.train.shared_prefix import confirm, enable
from needlework.train.trainable import Trainable, select

if TYPE_CHECKING:
    from transformers import PreTrainedModel


SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What the trainer is told; see `needlework.recipe.Train` for what each means."""

    learning_rate: float
    schedule: Literal["constant", "linear", "cosine"]
    warmup_steps: int
    batch_size: int
    epochs: int
    trainable: Trainable
    lora_rank: int
    precision: Literal["fp32", "bf16"]
    gradient_checkpointing: bool
    max_grad_norm: float
    checkpoint_steps: int
    seed: int


class PackedDataset(Dataset[PackedRow]):
    """The haystacks as packed rows of ids, made when asked for."""

    def __init__(self, haystacks: Sequence[Haystack], renderer: Renderer) -> None:
        self.haystacks = haystacks
        self.renderer = renderer

    def __len__(self) -> int:
        return len(self.haystacks)

    def __getitem__(self, index: int) -> PackedRow:
        return self.renderer.pack(self.haystacks[index])


class SharedPrefixTrainer(Trainer):
    """Trainer whose loss is the mean over all answer tokens of the global batch."""

    tally: Tally
    loss_is_scaled_for_ga = True

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the summed cross entropy of one packed row over the answer tokens of the global batch."""
        labels = inputs["labels"]
        forward = {key: value for key, value in inputs.items() if key not in ("labels", "shift_labels")}
        outputs = model(**forward, use_cache=False)
        confirm(inputs["layout"], self.accelerator.unwrap_model(model))
        logits = outputs.logits[0].float()
        assert num_items_in_batch is not None, "Trainer counts labels, which the collator gives"
        loss = cross_entropy(logits, labels, reduction="sum") / num_items_in_batch
        # Trainer averages over processes what is already a share of the global mean.
        loss = loss * self.accelerator.num_processes
        self.tally.add(logits.detach(), labels, inputs)
        return (loss, outputs) if return_outputs else loss


def finetune(
    model: PreTrainedModel,
    renderer: Renderer,
    haystacks: Sequence[Haystack],
    settings: TrainSettings,
    folder: Path,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
) -> Path:
    """Finetune a model and return the folder it is saved in.

    Continues from the last complete checkpoint in `folder`, to the same weights as without interruption;
    a finished training is left as it is.

    Args:
        model: The model, changed in place.
        renderer: Its tokenizer and chat template.
        haystacks: The samples, one packed row each, in order.
        settings: The settings.
        folder: Receives `metrics.jsonl`, checkpoints while training, then `model/` and `summary.json`.
        report: Called with each line of the metrics.

    Raises:
        ModelError: If exactness is not proven for the model.
        UserError: If the loss is not finite, or the disk cannot hold the checkpoints.
    """
    checkpoints = folder / "checkpoints"
    if (folder / SUMMARY).exists():
        shutil.rmtree(checkpoints, ignore_errors=True)
        return folder / "model"
    folder.mkdir(parents=True, exist_ok=True)
    # LoRA's matrices are drawn here.
    set_seed(settings.seed)
    model = select(model, settings.trainable, lora_rank=settings.lora_rank)
    enable(model)
    _check_disk(model, folder)
    sizes = {
        "parameters": sum(each.numel() for each in model.parameters()),
        "trainable_parameters": sum(each.numel() for each in model.parameters() if each.requires_grad),
    }
    tally = Tally()
    trainer = SharedPrefixTrainer(
        model=model,
        args=_arguments(settings, checkpoints),
        train_dataset=PackedDataset(haystacks, renderer),
        data_collator=collate,
        callbacks=[Metrics(folder / "metrics.jsonl", tally, report)],
    )
    trainer.tally = tally
    # Its callback prints a dictionary a step; ours reports.
    trainer.remove_callback(PrinterCallback)
    with _full_disk_explained(folder):
        trainer.train(resume_from_checkpoint=_last_complete(checkpoints))
        _save(model, renderer, folder)
    _summarize(settings, folder, {"haystacks": len(haystacks), **sizes})
    shutil.rmtree(checkpoints, ignore_errors=True)
    return folder / "model"


def _arguments(settings: TrainSettings, checkpoints: Path) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        # One packed row holds K answers and fills the processor; a batch is accumulated from rows.
        per_device_train_batch_size=1,
        gradient_accumulation_steps=settings.batch_size,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(settings.schedule, settings.schedule),
        warmup_steps=settings.warmup_steps,
        weight_decay=0.0,
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        # Samples are independent draws, so their order carries nothing; a fixed one makes resuming exact.
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        logging_steps=1,
        # Otherwise a loss that is not finite is logged as the last finite one.
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        # The one before is kept until the next is known to be complete.
        save_total_limit=2,
        seed=settings.seed,
        disable_tqdm=True,
        report_to="none",
    )
    # With several GPUs visible to one process Trainer would give each a row; processes do that better.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _last_complete(checkpoints: Path) -> str | None:
    """Return the newest checkpoint that was written to its end, after deleting those that were not."""
    folders = sorted(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for folder in folders:
        if not (folder / COMPLETE).exists():
            shutil.rmtree(folder)
    complete = [folder for folder in folders if folder.exists()]
    return str(complete[-1]) if complete else None


def _check_disk(model: PreTrainedModel, folder: Path) -> None:
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    moments = 2 * sum(each.numel() * 4 for each in model.parameters() if each.requires_grad)
    # Two checkpoints are kept, a third is being written, then the model.
    present = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    needed, free = 3 * (weights + moments) + weights - present, shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"training needs {needed / 2**30:.1f} GiB of disk for checkpoints and the model, but {folder} has "
            f"{free / 2**30:.1f} GiB free. Make room or give another --output."
        )


@contextmanager
def _full_disk_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        # Both libraries report a full disk in their own words instead of as an OSError.
        if "No space left" in str(error) or "PytorchStreamWriter" in str(error):
            free = shutil.disk_usage(folder).free / 2**20
            raise UserError(
                f"the disk of {folder} is full ({free:.0f} MiB free). Make room and give the same command again."
            ) from None
        raise


def _save(model: PreTrainedModel, renderer: Renderer, folder: Path) -> None:
    """Save an ordinary Hugging Face folder, merged where LoRA was used."""
    if hasattr(model, "merge_and_unload"):
        model = cast("PreTrainedModel", cast(Any, model).merge_and_unload())
    temporary, target = folder / "model.tmp", folder / "model"
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    renderer.tokenizer.save_pretrained(temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)


def _summarize(settings: TrainSettings, folder: Path, facts: dict[str, int]) -> None:
    """Write `summary.json`, whose presence says that the training is finished."""
    last = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    summary = {key: last[key] for key in ("seconds", "steps", "answers", "tokens")} | facts
    write_json(folder / SUMMARY, summary | {"peak_memory_gib": round(peak, 2), "precision": settings.precision})
