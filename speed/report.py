"""How fast a report of many predictions opens: `python -m speed.report`, a minute. The figures are in docs/report.md.

Ten thousand questions over Wikipedia paragraphs are put to two fake models; their comparison's report is opened in
headless Chromium. Opening lasts from the navigation until every chart and the first page of predictions is on the
screen; a search, from the key press until its hits are. Medians of several times, but for the first opening.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from needlework import pipeline
from needlework.benchmark_settings import MDQA, Evaluate
from needlework.benchmarks import Benchmark
from needlework.evaluation import build_benchmarks, run_benchmarks
from needlework.inference.backend import Ask, FakeBackend
from needlework.models.chat import Renderer
from needlework.models.loading import load_tokenizer
from needlework.progress import Silent
from tests.chromium import Browser, find

RUNS = 5
PARAGRAPHS, QUESTIONS, POSITIONS = 1010, 2, (1, 3, 5, 7, 10)
SEARCH = """new Promise(done => { const start = performance.now();
  const field = document.forms.filters.elements.text;
  field.value = "%s"; field.dispatchEvent(new Event("input", {bubbles: true}));
  const count = document.getElementById("count"), before = count.textContent;
  new MutationObserver(() => requestAnimationFrame(() => done([performance.now() - start, count.textContent])))
    .observe(count, {childList: true}); })"""


def main() -> None:
    """Print the figures."""
    program = find()
    if program is None:
        raise SystemExit("There is no Chromium to open the report with.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root:
        folder = Path(root)
        asked = make(folder)
        start = time.perf_counter()
        page = pipeline.report(folder)
        print(f"{asked:,} needles of 2 runs: written in {time.perf_counter() - start:.1f} s, "
              f"{page.stat().st_size / 1e6:.1f} MB")  # fmt: skip
        browser = Browser(program, folder / "profile")
        try:
            print(f"opens in a new browser in {browser.open(page, 1280):.2f} s")
            for width in (1280, 390):
                times = [browser.open(page, width) for _ in range(RUNS)]
                print(f"opens again, {width} pixels wide, in {median(times):.2f} s (at most {max(times):.2f})")
            found = [browser.run(SEARCH % word) for word in ("century", "university", "the", "war", "1066")]
            print(f"a search takes {median(milliseconds for milliseconds, _ in found):.0f} ms, "
                  f"of which 150 wait for the next key press; the last found {found[-1][1]}")  # fmt: skip
        finally:
            browser.close()


def make(folder: Path) -> int:
    """Write a comparison of two fake models into a folder, and return the number of needles."""
    asked = MDQA(
        documents=max(POSITIONS), positions=POSITIONS, paragraphs=PARAGRAPHS, questions_per_paragraph=QUESTIONS
    )
    (benchmark,) = build_benchmarks(Evaluate(mdqa=asked), 0, Renderer(load_tokenizer("smollm2-135m")))
    for side, knows in (("before", 3), ("after", 2)):
        run_benchmarks(side, side, {"model": side}, _prepare(benchmark, knows), folder / side, Silent())
    pipeline.write_comparison(folder / "before", folder / "after", folder)
    return sum(len(haystack.needles) for haystack in benchmark.haystacks)


def _prepare(benchmark: Benchmark, knows: int) -> Callable[[], tuple[FakeBackend, list[Benchmark]]]:
    """Return what makes a model that answers one question of so many, each in a sentence or two."""

    def reply(ask: Ask) -> str:
        number = sum(ask.needle.id.encode())
        if number % knows == 0:
            return f"The answer is {ask.needle.accepted[0]}, as the documents say."
        # A sentence out of a wrong paragraph, of a length that models write.
        return ask.haystack.items[number % len(ask.haystack.items)][-300:]

    return lambda: (FakeBackend(reply, batch_size=1000), [benchmark])


if __name__ == "__main__":
    main()
