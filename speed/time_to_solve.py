"""How long until the task is solved, with K answers a context and with one row an answer.

    python -m speed.time_to_solve run --tokens 1024     # hours; goes on where it was stopped
    python -m speed.time_to_solve run --tokens 4096 --needles 8 16 4 32
    python -m speed.time_to_solve run --tokens 4096 --needles 1 --most 200
    python -m speed.time_to_solve show                  # times a step of each, then table and plot

The embedded model is finetuned on `simple_dict` until 95 % of the values of held-out haystacks are found, the same 64
needles for every K. Equal tuning effort: each K takes the learning rate of RATES that solves it soonest on a seed of
its own, and is then run with three other seeds. Beyond `TUNED` tokens, where one trial takes an hour, each takes the
rate that it had there. What is counted are haystacks, which no other program on the machine
can disturb; `show` multiplies them with the seconds of a step, measured alone. One row an answer, TRL's way, is the
gradient of K = 1 (tests/train/test_shared_prefix.py), so it takes the haystacks of K = 1 and the seconds of TRL.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from needlework.models.loading import Precision

RESULTS = Path("docs/time-to-solve.csv")
"""Haystacks of each training that was finished; none where it was not solved within `most`. Others are run."""
NEEDLES = (1, 4, 8, 16, 32)
RATES = (1e-4, 2e-4, 5e-5)
TUNED, TUNING, SEEDS = 1024, 100, (0, 1, 2)
BATCH, CHECK, MOST = 2, 5, 600
"""Haystacks of a step, steps between checks, and the haystacks after which it is given up."""
HELD_OUT, ASKED_OF_EACH, TARGET = 64, 8, 0.95
"""Held-out needles, how many of them share a haystack, and the share of their values that is to be found."""
PRECISION: Precision = "bf16"
"""Of the trainings, and of the seconds that haystacks are multiplied with."""


def main() -> None:
    """Run what is missing, or show what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show", "one"])
    parser.add_argument("--output", type=Path, default=Path("runs/solve"))
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--needles", type=int, nargs="+", default=NEEDLES)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--most", type=int, default=MOST, help="haystacks after which a training is given up")
    args = parser.parse_args()
    if args.what == "one":
        one(args.output, args.tokens, args.needles[0], args.rate, args.seed, args.most)
    elif args.what == "run":
        study(args.output, args.tokens, args.needles, args.most)
    else:
        show(RESULTS.with_suffix(".png"))


def study(output: Path, tokens: int, all_needles: list[int], most: int) -> None:
    """Choose the learning rate of each K, then run a seed of each, so that what is finished can be compared."""
    rates = {needles: chosen(output, min(tokens, TUNED), needles) for needles in all_needles}
    for seed in SEEDS:
        for needles, rate in rates.items():
            haystacks(output, tokens, needles, rate, seed, most)


def chosen(output: Path, tokens: int, needles: int) -> float:
    """Return the learning rate that solves the task soonest."""
    best, soonest = RATES[0], MOST
    for rate in RATES:
        # A rate that is not sooner than the best so far needs no further steps to be beaten.
        if found := haystacks(output, tokens, needles, rate, TUNING, soonest):
            best, soonest = rate, found - CHECK * BATCH
    return best


def haystacks(output: Path, tokens: int, needles: int, rate: float, seed: int, most: int) -> int | None:
    """Return how many haystacks it took to find 95 % of the values, or None; train if that is not known yet."""
    wanted = {"tokens": str(tokens), "K": str(needles), "rate": f"{rate:g}", "seed": str(seed)}
    row = next((row for row in results() if wanted.items() <= row.items()), None)
    if row is None and most > 0:
        folder = output / "_".join(wanted.values())
        command = [sys.executable, "-m", "speed.time_to_solve", "one", "--output", str(folder)]
        options = {"--tokens": tokens, "--needles": needles, "--rate": rate, "--seed": seed, "--most": most}
        subprocess.run([*command, *(str(part) for pair in options.items() for part in pair)], check=True)
        row = wanted | json.loads((folder / "solved.json").read_text())
        with RESULTS.open("a", newline="") as file:
            csv.writer(file).writerow(row.values())
    found = int(row["haystacks"]) if row and row["haystacks"] else None
    print(f"{tokens} tokens, K = {needles}, rate {rate:g}, seed {seed}: {found or f'not within {most}'}", flush=True)
    return found


def results() -> list[dict[str, str]]:
    """Return what is known of each finished training."""
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def one(folder: Path, tokens: int, needles: int, rate: float, seed: int, most: int) -> None:
    """Train until the held-out values are found, and write how many haystacks that took."""
    from needlework.dataset.synthetic import HELD_OUT as APART
    from needlework.dataset.synthetic import SyntheticDataset
    from needlework.models.chat import Renderer
    from needlework.models.loading import load_model, load_tokenizer
    from needlework.recipe import Train
    from needlework.tasks import make_task
    from needlework.train.held_out import HeldOut
    from needlework.train.trainer import finetune

    renderer, task = Renderer(load_tokenizer("smollm2-135m")), make_task("simple_dict")
    data = SyntheticDataset(task, most, needles, tokens, renderer, seed=seed)
    asked = SyntheticDataset(task, HELD_OUT // ASKED_OF_EACH, ASKED_OF_EACH, tokens, renderer, seed=APART)
    train = Train(learning_rate=rate, batch_size=BATCH, epochs=1, checkpoint_steps=CHECK)
    held_out = HeldOut(asked, steps=CHECK, target=TARGET)
    model = load_model("smollm2-135m")
    finetune(model, renderer, data, train, folder, print, held_out, precision=PRECISION, seed=seed)
    summary = json.loads((folder / "summary.json").read_text())
    solved = summary["held_out_value"] >= TARGET
    shutil.rmtree(folder / "model", ignore_errors=True)
    found = str(summary["steps"] * BATCH) if solved else ""
    (folder / "solved.json").write_text(json.dumps({"most": str(most), "haystacks": found}))


def show(picture: Path) -> None:
    """Print a line for each finished K, and draw them."""
    from speed.training import child_of

    drawn: list[dict[str, Any]] = []
    found: dict[tuple[int, int], list[dict[str, str]]] = {}
    for row in sorted(results(), key=lambda row: int(row["seed"])):
        if int(row["seed"]) in SEEDS:
            found.setdefault((int(row["tokens"]), int(row["K"])), []).append(row)
    print(f"{'tokens':>7}{'K':>4}  {'haystacks of each seed':28}{'s a haystack':>13}{'minutes, median':>17}")
    for (tokens, needles), rows in sorted(found.items()):
        # A training that was given up took at least the haystacks it had.
        counts = [int(row["haystacks"] or row["most"]) for row in rows]
        each = ", ".join(row["haystacks"] or f"> {row['most']}" for row in rows)
        for who in ("ours", "trl") if needles == 1 else ("ours",):
            seconds = child_of(who, tokens, needles, PRECISION)["seconds"] * needles
            label = "TRL" if who == "trl" else str(needles)
            print(f"{tokens:7}{label:>4}  {each:28}{seconds:13.2f}{median(counts) * seconds / 60:17.1f}", flush=True)
            for row, count in zip(rows, counts, strict=True):
                outcome = "solved" if row["haystacks"] else "given up, unsolved"
                drawn.append({"tokens": tokens, "K": label, "minutes": count * seconds / 60, "training": outcome})
    draw(drawn, picture)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw minutes over K, a panel a length, a dot a seed."""
    import altair

    order = ["TRL", *map(str, NEEDLES)]
    base = altair.Chart(altair.Data(values=rows)).encode(
        x=altair.X("K:N", sort=order, title="answers per context", axis=altair.Axis(labelAngle=0)),
        y=altair.Y("minutes:Q", title="minutes to 95 % of held-out values"),
    )
    # Triangles point to where a training that was given up would have ended.
    shapes = {"solved": "circle", "given up, unsolved": "triangle-up"}
    outcomes = [each for each in shapes if any(row["training"] == each for row in rows)]
    scale = altair.Scale(domain=outcomes, range=[shapes[each] for each in outcomes])
    legend = altair.Legend(orient="top") if len(outcomes) > 1 else None
    dots = base.mark_point(size=70, filled=True, opacity=0.7).encode(
        shape=altair.Shape("training:N", scale=scale, title=None, legend=legend)
    )
    middle = base.mark_tick(thickness=3, width=24).encode(y="median(minutes):Q")
    header = altair.Header(labelExpr="format(datum.value, ',') + ' tokens'", labelFontSize=13)
    column = altair.Column("tokens:O", title=None, header=header)
    panels = (dots + middle).properties(width=240, height=240).facet(column=column)
    panels.resolve_scale(y="independent").save(str(path), scale_factor=2)


if __name__ == "__main__":
    main()
