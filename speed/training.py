"""How fast training is, against TRL: `python -m speed.training`, about forty minutes on two cores.

The embedded model, attention projections trainable, the same haystacks for both, both by bf16 autocast and then both in
fp32. TRL's `SFTTrainer` gets each answer as a prompt-completion row of its own, without activation checkpointing, which
is its fastest setting here; packing cannot help, because one row fills `max_length`. Each measurement is a process of
its own, so that its peak memory is its own; the first step is not counted, the median of the others is.

The limit is what the step cannot do without: its matrix products and attention calls with random numbers of the same
shapes and precision, timed alone.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import torch

    from needlework.models.loading import Precision

CASES = ((1058, 1), (1058, 8), (3708, 1), (3708, 16), (3708, 32))
"""Tokens of prompt and answer, and answers for each context."""
STEPS = 3
REPETITIONS = 7


def main() -> None:
    """Print a table for each precision, a line for each case."""
    for precision in ("bf16", "fp32"):
        print(
            f"{precision:>7}{'K':>4}{'TRL, s':>9}{'ours, s':>9}{'ratio':>7}{'limit, s':>10}{'ours/limit':>11}", end=""
        )
        print(f"{'TRL, GiB':>10}{'ours, GiB':>11}   (seconds an answer)", flush=True)
        peers: dict[int, dict[str, float]] = {}
        for tokens, needles in CASES:
            if tokens not in peers:
                peers[tokens] = child_of("trl", tokens, 1, precision)
            peer, *own = peers[tokens], *(child_of(who, tokens, needles, precision) for who in ("ours", "limit"))
            print(line(tokens, needles, peer, *own), flush=True)


def line(tokens: int, needles: int, peer: dict[str, float], ours: dict[str, float], limit: dict[str, float]) -> str:
    """Return the table's line of a case."""
    seconds = f"{peer['seconds']:9.2f}{ours['seconds']:9.2f}{peer['seconds'] / ours['seconds']:7.1f}"
    bound = f"{limit['seconds']:10.2f}{ours['seconds'] / limit['seconds']:11.2f}"
    return f"{tokens:7}{needles:4}{seconds}{bound}{peer['gib']:10.2f}{ours['gib']:11.2f}"


def child_of(who: str, tokens: int, needles: int, precision: str) -> dict[str, float]:
    """Return what a process of its own measures of `ours`, `compiled`, `trl` or `limit`: seconds an answer, and GiB."""
    command = [sys.executable, "-m", "speed.training", who, str(tokens), str(needles), precision]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(who: str, tokens: int, needles: int, precision: Precision) -> None:
    """Measure one thing and print it: seconds an answer, peak memory, and seconds of the first step."""
    compiled = partial(our_steps, compile=True)
    ways: dict[str, Callable[[int, int, Precision], list[float]]] = {
        "trl": trl_steps, "ours": our_steps, "compiled": compiled, "limit": limit_steps
    }  # fmt: skip
    seconds = ways[who](tokens, needles, precision)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": median(seconds[1:]) / needles, "gib": peak, "first_step": seconds[0]}))


def _haystacks(tokens: int, needles: int) -> tuple[Any, Any]:
    from needlework.dataset.synthetic import SyntheticDataset
    from needlework.models.chat import Renderer
    from needlework.models.loading import load_tokenizer
    from needlework.tasks import make_task

    renderer = Renderer(load_tokenizer("smollm2-135m"))
    return SyntheticDataset(make_task("simple_dict"), 1 + STEPS, needles, tokens, renderer), renderer


def our_steps(tokens: int, needles: int, precision: Precision, *, compile: bool = False) -> list[float]:
    """Train on packed rows, one a step; return the seconds of each step."""
    from needlework.models.loading import load_model
    from needlework.recipe import Train
    from needlework.train.trainer import finetune

    data, renderer = _haystacks(tokens, needles)
    train = Train(learning_rate=1e-5, batch_size=1, epochs=1, checkpoint_steps=1000, compile=compile)
    ends = [0.0]
    with tempfile.TemporaryDirectory() as folder:
        report = lambda row: ends.append(row["seconds"])  # noqa: E731
        finetune(load_model("smollm2-135m"), renderer, data, train, Path(folder), report, precision=precision)
    return [end - start for start, end in pairwise(ends)]


def trl_steps(tokens: int, needles: int, precision: Precision) -> list[float]:
    """Train TRL's SFTTrainer on one row a step; return the seconds of each step."""
    import datasets
    import trl
    from transformers import TrainerCallback

    from needlework.models.loading import load_model
    from needlework.train.trainable import select

    data, renderer = _haystacks(tokens, needles)
    rows = []
    for haystack in data:
        needle = haystack.needles[0]
        # Rendered already: the same tokens as ours.
        rows.append({"prompt": renderer.prompt(haystack, needle), "completion": renderer.completion(haystack, needle)})
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = trl.SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=1,
            max_steps=1 + STEPS,
            learning_rate=1e-5,
            lr_scheduler_type="constant",
            max_length=tokens,
            bf16=precision == "bf16",
            use_cpu=True,
            activation_checkpointing=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        model = select(load_model("smollm2-135m"), "attention", lora_rank=16)
        trainer = trl.SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=renderer.tokenizer,
            callbacks=[Clock()],
        )
        start = time.perf_counter()
        trainer.train()
    return [end - begin for begin, end in pairwise([start, *ends])]


def limit_steps(tokens: int, needles: int, precision: Precision) -> list[float]:
    """Time the matrix products and attention calls of a step alone; return the seconds of each repetition: those of
    the first layer, of the last, of another for each of the others, and of the head.
    """
    import torch

    from needlework.models.loading import load_model

    config = load_model("smollm2-135m").config
    data, renderer = _haystacks(tokens, needles)
    row = renderer.pack(data[0])
    torch.manual_seed(0)
    parts = _Parts(config, len(row.prefix), [len(branch) for branch in row.branches], sum(row.answers), precision)
    seconds = []
    for _ in range(1 + REPETITIONS):
        ends = (lambda: parts.layer(first=True), lambda: parts.layer(last=True), parts.head)
        seconds.append(sum(map(_timed, ends)) + (config.num_hidden_layers - 2) * _timed(parts.layer))
    return seconds


def _timed(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class _Parts:
    """The products and attention calls of one layer and of the head.

    Attention is in fp32 where this machine is faster so, as in training, and within branches always. All numbers are
    drawn before anything is timed. Frozen weights need no gradient of their own, the first layer none of its input, and
    of the prefix the last layer computes keys and values alone.
    """

    def __init__(self, config: Any, prefix: int, branches: list[int], answers: int, precision: Precision) -> None:
        import torch

        from needlework.models.loading import fastest_precision
        from needlework.train.cpu_attention import shares_of

        self.precision: Precision = precision
        self.attends: Precision = "fp32" if fastest_precision() == "fp32" else precision
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        self.prefix = prefix
        hidden, inner, wide = config.hidden_size, config.intermediate_size, groups * config.head_dim
        self.dim, rows = config.head_dim, prefix + sum(branches)
        attention = [(hidden, hidden), (wide, hidden), (wide, hidden), (hidden, hidden)]
        mlp = [(inner, hidden), (inner, hidden), (hidden, inner)]
        new = self._new
        self.trained = [(new(rows, size[1]), new(*size), new(rows, size[0])) for size in attention]
        self.frozen = [(new(rows, size[1]), new(*size), new(rows, size[0])) for size in mlp]
        self.of_prefix = self._attention(1, heads, prefix, groups, prefix, self.attends)
        folded = heads // groups * sum(branches)
        shares = shares_of(groups, folded, torch.get_num_threads())
        self.far = self._attention(shares, groups, folded // shares, groups, prefix, self.attends)
        self.near = self._attention(len(branches), heads, max(branches), heads, max(branches), "fp32")
        self.last = new(answers, hidden), new(config.vocab_size, hidden), new(answers, config.vocab_size)

    def layer(self, *, first: bool = False, last: bool = False) -> None:
        query, key, value, output = self.trained
        only = slice(self.prefix if last else 0, None)
        for inputs, weight, gradient in [*self._rows([query], only), key, value]:
            inputs @ weight.T
            gradient.T @ inputs
            if not first:
                gradient @ weight
        for inputs, weight, gradient in self._rows([output], only):
            inputs @ weight.T
            gradient.T @ inputs
            gradient @ weight
        for inputs, weight, gradient in self._rows(self.frozen, only):
            inputs @ weight.T
            gradient @ weight
        if not last:
            self._attend(self.of_prefix, causal=True)
        self._attend(self.far, causal=False)
        self._attend(self.near, causal=True)

    def _new(self, *shape: int, precision: Precision | None = None) -> torch.Tensor:
        import torch

        return torch.randn(*shape, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[precision or self.precision])

    @staticmethod
    def _rows(products: list[Any], rows: slice) -> list[Any]:
        return [(inputs[rows], weight, gradient[rows]) for inputs, weight, gradient in products]

    def _attention(
        self, batch: int, heads: int, rows: int, groups: int, keys: int, precision: Precision
    ) -> list[torch.Tensor]:
        sizes = ((heads, rows), (groups, keys), (groups, keys))
        return [self._new(batch, *size, self.dim, precision=precision).requires_grad_() for size in sizes]

    @staticmethod
    def _attend(inputs: list[torch.Tensor], *, causal: bool) -> None:
        import torch

        query, key, value = inputs
        output = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal, enable_gqa=True)
        torch.autograd.grad(output, inputs, output.detach())

    def head(self) -> None:
        inputs, weight, gradient = self.last
        inputs @ weight.T
        gradient @ weight


if __name__ == "__main__":
    if len(sys.argv) > 1:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), cast(Any, sys.argv[4]))
    else:
        main()
