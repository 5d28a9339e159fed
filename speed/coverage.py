"""How often intervals cover, tests raise a false alarm, and the gate errs: `python -m speed.coverage`, some minutes.

The tables are in docs/statistics.md; tests/report/test_statistics.py repeats a small part of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from needlework.report.margin import judge, needed_to_judge
from needlework.report.power import needed
from needlework.report.statistics import change_interval, contrast, exact_p, rate_interval
from needlework.report.trainings import mean_row

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TRIALS = 1000
DIP = (0.6, 0.4, 0.4, 0.5)
"""Rates at four gold positions; their middle dip is 0.15."""


@dataclass(frozen=True)
class Design:
    """Clusters of needles, asked of two models."""

    clusters: int
    needles: int
    """In each cluster; if negative, so many at most, and from 1 on equally likely."""
    before: float
    after: float
    alike: float
    """The correlation of what the two models find hard, on a latent normal scale."""
    within: float = 0.4
    """The correlation within a cluster, on the same scale."""

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats, Ints]:
        """Return what hit before and after, and the clusters, each of shape [N]."""
        high = abs(self.needles)
        sizes = rng.integers(1 if self.needles < 0 else high, high + 1, self.clusters)
        clusters = np.repeat(np.arange(self.clusters), sizes)
        shared = self._latent(rng, clusters)
        before, after = (self._hits(rng, clusters, shared, rate) for rate in (self.before, self.after))
        return before, after, clusters

    def draw_places(self, rng: np.random.Generator, rates: tuple[float, ...]) -> tuple[Floats, Ints, Ints]:
        """Return what hit, the clusters and the positions: each needle of a cluster asked at each position."""
        questions = np.repeat(np.arange(self.clusters), self.needles)
        shared = self._latent(rng, questions)
        hits = [self._hits(rng, questions, shared, rate) for rate in rates]
        return np.concatenate(hits), np.tile(questions, len(rates)), np.repeat(np.arange(len(rates)), len(questions))

    def _latent(self, rng: np.random.Generator, clusters: Ints) -> Floats:
        common = rng.standard_normal(self.clusters)[clusters]
        found: Floats = self.within**0.5 * common + (1 - self.within) ** 0.5 * rng.standard_normal(len(clusters))
        return found

    def _hits(self, rng: np.random.Generator, clusters: Ints, shared: Floats, rate: float) -> Floats:
        from scipy.special import ndtri

        latent = self.alike**0.5 * shared + (1 - self.alike) ** 0.5 * self._latent(rng, clusters)
        hits: Floats = (latent < ndtri(rate)).astype(np.float64)
        return hits


@dataclass(frozen=True)
class Trainings(Design):
    """Several trainings of one model, asked the same needles."""

    alike: float = 0.5
    runs: int = 3
    spread: float = 0.0
    """The standard deviation of what a training adds to all its answers, on the latent scale."""

    def draw_runs(self, rng: np.random.Generator) -> tuple[Floats, Floats, Ints]:
        """Return what hit before, of shape [N], what hit after, of shape [N, runs], and the clusters."""
        from scipy.special import ndtri

        clusters = np.repeat(np.arange(self.clusters), self.needles)
        shared, tuned = self._latent(rng, clusters), self._latent(rng, clusters)
        before = self._hits(rng, clusters, shared, self.before)
        after = np.empty((len(clusters), self.runs))
        # So that the rate over all trainings is `after`.
        level = ndtri(self.after) * (1 + self.spread**2) ** 0.5
        for run in range(self.runs):
            # Trainings share half of what the model before does not.
            own = (0.5**0.5) * tuned + 0.5**0.5 * self._latent(rng, clusters)
            latent = self.alike**0.5 * shared + (1 - self.alike) ** 0.5 * own
            after[:, run] = latent + self.spread * rng.standard_normal() < level
        return before, after, clusters


def coverage(design: Design, trials: int, seed: int = 0) -> dict[str, float]:
    """Return how often 95 % intervals cover a rate and a change, and how often p < 0.05."""
    rng = np.random.default_rng(seed)
    found = dict.fromkeys(("discordant", "rate", "change", "p"), 0.0)
    truth = design.after - design.before
    for _ in range(trials):
        before, after, clusters = design.draw(rng)
        found["discordant"] += float(np.mean(before != after))
        found["rate"] += _covers(rate_interval(before, clusters), design.before)
        found["change"] += _covers(change_interval(after - before, clusters), truth)
        found["p"] += exact_p(after - before, clusters) < 0.05
    return {name: count / trials for name, count in found.items()}


def mean_coverage(design: Trainings, trials: int, seed: int = 0) -> dict[str, float]:
    """Return how often the intervals of a mean of trainings cover its rate and change, and how often p < 0.05."""
    rng = np.random.default_rng(seed)
    found = dict.fromkeys(("rate", "change", "p"), 0.0)
    for _ in range(trials):
        row = mean_row(*design.draw_runs(rng))
        found["rate"] += _covers((row["after_low"], row["after_high"]), design.after)
        found["change"] += _covers((row["low"], row["high"]), design.after - design.before)
        found["p"] += row["p"] < 0.05
    return {name: count / trials for name, count in found.items()}


def dip_coverage(design: Design, trials: int, seed: int = 0) -> float:
    """Return how often the 95 % interval of the middle dip covers it."""
    rng, weights = np.random.default_rng(seed), np.array([0.5, -0.5, -0.5, 0.5])
    covered = 0
    for _ in range(trials):
        hits, clusters, places = design.draw_places(rng, DIP)
        _, low, high = contrast(hits, clusters, places, weights.tolist())
        covered += _covers((low, high), float(weights @ DIP))
    return covered / trials


def sparse_coverage(clusters: int, loss: float, gain: float, trials: int, seed: int = 0) -> float:
    """Return how often the 95 % interval of a change covers it, where few needles change, each a cluster."""
    rng, index = np.random.default_rng(seed), np.arange(clusters)
    covered = 0
    for _ in range(trials):
        chance = rng.random(clusters)
        change = np.where(chance < loss, -1.0, np.where(chance < loss + gain, 1.0, 0.0))
        covered += _covers(change_interval(change, index), gain - loss)
    return covered / trials


def judgements(
    clusters: int, needles: int, loss: float, gain: float, together: bool, margin: float, trials: int, seed: int = 0
) -> dict[str, float]:
    """Return how often the gate says what.

    Args:
        clusters: Their number.
        needles: In each.
        loss: The chance that a needle is lost.
        gain: The chance that one is gained.
        together: Whether half of the clusters are lost, gained or kept as a whole.
        margin: Of the gate.
        trials: How many evaluations.
        seed: Of the simulation.
    """
    rng, said = np.random.default_rng(seed), dict.fromkeys(("no harm", "harm", "too few"), 0.0)
    index = np.repeat(np.arange(clusters), needles)
    for _ in range(trials):
        chance = rng.random(len(index))
        if together:
            whole = rng.random(clusters) < 0.5
            chance = np.where(whole[index], rng.random(clusters)[index], chance)
        change = np.where(chance < loss, -1.0, np.where(chance < loss + gain, 1.0, 0.0))
        low, high = change_interval(change, index)
        said[judge({"clusters": clusters, "change": change.mean(), "low": low, "high": high}, margin)] += 1
    return {name: count / trials for name, count in said.items()}


def _covers(span: tuple[float, float], truth: float) -> bool:
    # Outcomes are counts: a bound may be the truth itself, to rounding.
    return span[0] - 1e-9 <= truth <= span[1] + 1e-9


def main() -> None:
    """Print the tables."""
    print_coverage()
    print_trainings()
    print_gate()
    print_power()


def print_coverage() -> None:
    """Print how often intervals cover, and how often p is below 0.05 though nothing changed."""
    print(
        "| clusters | needles in each | before | after | discordant | rate | change | p < 0.05 |\n" + "|---" * 8 + "|"
    )
    for clusters, needles in ((20, 1), (20, 4), (50, 1), (50, 4), (50, -12), (200, 1), (200, 4)):
        for before, after, alike in ((0.5, 0.5, 0.5), (0.3, 0.4, 0.5), (0.1, 0.1, 0.9), (0.03, 0.97, 0.5)):
            found = coverage(Design(clusters, needles, before, after, alike), TRIALS)
            size = f"1 to {-needles}" if needles < 0 else needles
            alarm = f"{found['p']:.1%}" if before == after else ""
            shares = f"{found['discordant']:.0%} | {found['rate']:.1%} | {found['change']:.1%} | {alarm}"
            print(f"| {clusters} | {size} | {before} | {after} | {shares} |", flush=True)
    print("\n| clusters of one needle | lost | gained | change |\n|---|---|---|---|")
    for clusters, loss, gain in ((20, 0.05, 0.02), (50, 0.02, 0.01), (100, 0.02, 0.005), (100, 0.05, 0.02)):
        print(f"| {clusters} | {loss:.1%} | {gain:.1%} | {sparse_coverage(clusters, loss, gain, TRIALS):.1%} |")
    print("\n| clusters | questions in each | middle dip |\n|---|---|---|")
    for clusters, needles in ((20, 1), (20, 4), (50, 1), (50, 4), (200, 1)):
        print(
            f"| {clusters} | {needles} | {dip_coverage(Design(clusters, needles, 0, 0, 0.5), TRIALS):.1%} |", flush=True
        )


def print_trainings() -> None:
    """Print how often the intervals of means of trainings cover, by how much the trainings differ."""
    print("\n| trainings | clusters | needles in each | before | after | differ by | rate | change | p < 0.05 |")
    print("|---" * 9 + "|")
    for runs, clusters, needles in (
        (2, 50, 4),
        (2, 200, 1),
        (3, 50, 1),
        (3, 50, 4),
        (3, 200, 1),
        (5, 50, 4),
        (5, 200, 1),
    ):
        for before, after in ((0.3, 0.3), (0.3, 0.4)):
            for spread in (0.0, 0.1, 0.3):
                found = mean_coverage(Trainings(clusters, needles, before, after, 0.5, 0.4, runs, spread), TRIALS)
                alarm = f"{found['p']:.1%}" if before == after else ""
                shares = f"{_points(after, spread)} | {found['rate']:.1%} | {found['change']:.1%} | {alarm}"
                print(f"| {runs} | {clusters} | {needles} | {before} | {after} | {shares} |", flush=True)


def _points(rate: float, spread: float) -> str:
    """Return the standard deviation of trainings' rates, in points."""
    from scipy.special import ndtr, ndtri

    effects = spread * np.random.default_rng(0).standard_normal(100_000)
    rates = ndtr(ndtri(rate) * (1 + spread**2) ** 0.5 - effects)
    return f"{100 * rates.std():.1f}"


def print_gate() -> None:
    """Print what the gate says where the loss is the margin itself, and where nothing changed on the whole."""
    print("\n| margin | clusters | needles in each | lost | gained | no harm | harm | too few |\n" + "|---" * 8 + "|")
    for margin, clusters, needles in ((0.02, 200, 1), (0.02, 500, 1), (0.02, 200, 4), (0.05, 100, 1), (0.05, 100, 4)):
        for extra in (0, 0.25, 1, 3):
            _print_judgements(margin, clusters, needles, margin * (1 + extra), margin * extra)
        _print_judgements(margin, clusters, needles, margin / 2, margin / 2)


def _print_judgements(margin: float, clusters: int, needles: int, loss: float, gain: float) -> None:
    for together in (False, True) if needles > 1 else (False,):
        found = judgements(clusters, needles, loss, gain, together, margin, TRIALS)
        size = f"{needles}{', half of them alike' if together else ''}"
        said = " | ".join(f"{found[each]:.1%}" for each in ("no harm", "harm", "too few"))
        print(f"| {margin:.0%} | {clusters} | {size} | {loss:.1%} | {gain:.1%} | {said} |", flush=True)


def print_power() -> None:
    """Print how often as many needles as are said to be needed see the change, or pass the gate."""
    print("\n| discordant | change | needles | seen |\n|---|---|---|---|")
    for churn, change in ((0.2, 0.1), (0.2, 0.05), (0.05, 0.05), (0.0, 0.05)):
        seen = {"n": 1, "clusters": 1, "change": 0, "discordant": churn, "design_effect": 1}
        count, rng = needed(seen, change).needles, np.random.default_rng(0)
        found = 0
        for _ in range(TRIALS):
            chance = rng.random(count)
            gained, lost = chance < churn / 2 + change, chance > 1 - churn / 2
            found += exact_p(gained.astype(float) - lost, np.arange(count)) < 0.05
        print(f"| {churn + change:.0%} | {change:.0%} | {count:,} | {found / TRIALS:.1%} |", flush=True)
    print("\n| margin | discordant | needles | no harm |\n|---|---|---|---|")
    for margin, churn in ((0.02, 0.0), (0.02, 0.02), (0.02, 0.1), (0.05, 0.1)):
        seen = {"n": 1, "clusters": 1, "change": 0, "discordant": churn, "design_effect": 1}
        advice = needed_to_judge(seen, margin)
        assert advice
        share = judgements(advice.needles, 1, churn / 2, churn / 2, False, margin, TRIALS // 10)["no harm"]
        print(f"| {margin:.0%} | {churn:.0%} | {advice.needles:,} | {share:.1%} |", flush=True)


if __name__ == "__main__":
    main()
