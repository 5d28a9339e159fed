"""How fast evaluation is, against lm-evaluation-harness: `python -m speed.evaluation`, about ten minutes on two cores.

The embedded model in fp32, the same prompts and greedy answers. The harness's `HFLM.generate_until` gets the rendered
prompts, in batches of one and of five: the better counts. It is asked some of the prompts, because each costs it the
same; its answers have to be ours. Each measurement is a process of its own, so that its peak memory is its own; medians
are compared. `python -m speed.evaluation kv` measures one case.

The bound is what sharing alone allows: the arithmetic of all prompts and answers, matrix products and attention,
without and with shared prefixes. That decoding many answers at once reads the weights once for all is not part of it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from needlework.inference.prefixes import Span, spans

if TYPE_CHECKING:
    from needlework.benchmarks import Benchmark
    from needlework.inference.backend import Ask
    from needlework.models.chat import Renderer

MODEL = "smollm2-135m"
CASES = {
    "kv": "kv, 16 needles, 4K",
    "mdqa": "MDQA, 5 positions",
    "mdqa2": "the same, 2 questions",
}
REPETITIONS = 3
PEER_PROMPTS = 5
PEER_BATCHES = (1, 5)


def main(cases: Sequence[str]) -> None:
    """Print a table: a line for each case."""
    print(f"{'case':24}{'HFLM, s':>9}{'ours, s':>9}{'ratio':>7}{'bound':>7}{'HFLM, GiB':>11}{'ours, GiB':>11}", end="")
    print("  same answers   (seconds an answer)", flush=True)
    for case in cases:
        ours = _child("ours", case)
        peer = min((_child("peer", case, batch) for batch in PEER_BATCHES), key=lambda found: found["seconds"])
        same = sum(ours["answers"][id] == answer for id, answer in peer["answers"].items())
        seconds = f"{peer['seconds']:9.2f}{ours['seconds']:9.2f}{peer['seconds'] / ours['seconds']:7.1f}"
        rest = f"{ours['bound']:7.1f}{peer['gib']:11.2f}{ours['gib']:11.2f}{same:8} of {len(peer['answers'])}"
        print(f"{CASES[case]:24}{seconds}{rest}   HFLM in batches of {peer['batch']}", flush=True)


def _child(who: str, case: str, batch: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "speed.evaluation", who, case, str(batch)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(who: str, case: str, batch: int) -> None:
    """Measure one thing and print it: seconds an answer, the answers by needle, peak memory."""
    from needlework.inference.backend import Ask
    from needlework.models.chat import Renderer
    from needlework.models.loading import load_tokenizer

    renderer = Renderer(load_tokenizer(MODEL))
    benchmark = build(case, renderer)
    asks = [Ask(haystack, needle) for haystack in benchmark.haystacks for needle in haystack.needles]
    found = our_run(asks, benchmark, renderer) if who == "ours" else peer_run(asks, benchmark, renderer, batch)
    found["gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(found))


def build(case: str, renderer: Renderer) -> Benchmark:
    """Build the benchmark of a case: one haystack, or one paragraph at all its positions."""
    from needlework.benchmark_settings import KV, MDQA, Evaluate
    from needlework.evaluation import build_benchmarks

    if case == "kv":
        depths = tuple(index / 15 for index in range(16))
        chosen = Evaluate(kv=KV(lengths=(4096,), depths=depths, haystacks=1))
    else:
        chosen = Evaluate(mdqa=MDQA(paragraphs=1, questions_per_paragraph=2 if case == "mdqa2" else 1))
    return build_benchmarks(chosen, 0, renderer)[0]


def our_run(asks: list[Ask], benchmark: Benchmark, renderer: Renderer) -> dict[str, Any]:
    """Answer all prompts, several times."""
    from needlework.inference.hf import HFBackend
    from needlework.models.loading import load_model

    model = load_model(MODEL)
    backend, seconds = HFBackend(model, renderer), []
    answers: dict[str, str] = {}
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        for batch in backend.batches(asks, max_new_tokens=benchmark.max_new_tokens):
            chosen = [asks[index] for index in batch]
            found = backend.answer(chosen, max_new_tokens=benchmark.max_new_tokens, stop=benchmark.stop)
            answers |= {ask.needle.id: answer.output for ask, answer in zip(chosen, found, strict=True)}
        seconds.append((time.perf_counter() - start) / len(asks))
    texts = [renderer.prompt(ask.haystack, ask.needle) for ask in asks]
    prompts = sorted(renderer.encode(texts))
    alone = [Span(row, row + 1, 0, len(prompt), 0) for row, prompt in enumerate(prompts)]
    # The answers cost the same either way.
    wholes = renderer.encode([text + answers[ask.needle.id] for text, ask in zip(texts, asks, strict=True)])
    lengths = zip(renderer.encode(texts), wholes, strict=True)
    decoded = [Span(row, row + 1, len(prompt), len(whole), 0) for row, (prompt, whole) in enumerate(lengths)]
    bound = work(model.config, [*alone, *decoded]) / work(model.config, [*spans(prompts), *decoded])
    return {"seconds": median(seconds), "answers": answers, "bound": bound}


def work(config: Any, computed: Sequence[Span]) -> float:
    """Return the multiplications of a model's layers for some spans."""
    wide, narrow = (heads * config.head_dim for heads in (config.num_attention_heads, config.num_key_value_heads))
    products = config.hidden_size * (2 * wide + 2 * narrow + 3 * config.intermediate_size)
    # Of a span's rows, each sees what stands before it: its middle row as many keys as they all do on average.
    work = sum(span.tokens * (products + wide * (span.start + span.stop + 1)) for span in computed)
    return float(work * config.num_hidden_layers)


def peer_run(asks: list[Ask], benchmark: Benchmark, renderer: Renderer, batch: int) -> dict[str, Any]:
    """Ask the harness some of the prompts."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from needlework.models.loading import load_model

    # Spread over the positions.
    chosen = asks[:: max(1, len(asks) // PEER_PROMPTS)][:PEER_PROMPTS]
    model = HFLM(load_model(MODEL), tokenizer=renderer.tokenizer, batch_size=batch, device="cpu")
    options = {"until": [benchmark.stop] if benchmark.stop else [], "max_gen_toks": benchmark.max_new_tokens}
    requests = [
        Instance("generate_until", {}, (renderer.prompt(ask.haystack, ask.needle), dict(options)), index)
        for index, ask in enumerate(chosen)
    ]
    seconds: list[float] = []
    answers: dict[str, str] = {}
    for at in range(0, len(chosen), batch):
        start = time.perf_counter()
        found = model.generate_until(requests[at : at + batch], disable_tqdm=True)
        seconds.append((time.perf_counter() - start) / len(found))
        answers |= {ask.needle.id: text for ask, text in zip(chosen[at : at + batch], found, strict=True)}
    return {"seconds": median(seconds), "answers": answers, "batch": batch}


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if len(sys.argv) > 2:
        child(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main(sys.argv[1:] or list(CASES))
