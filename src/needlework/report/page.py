"""The report of a run: one HTML page that opens offline, and its figures. It only reads a run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from needlework.report import charts, fates, figures, text
from needlework.report.browser import MOST, embedded
from needlework.report.drawing import Figure, interactive, save, vegalite_version
from needlework.report.run import Run, Side, load
from needlework.report.runs import left_out, notes
from needlework.storage import write_text
from needlework.visible import visible

if TYPE_CHECKING:
    import jinja2

_HERE = Path(__file__).parent
_WAYS = {1: "better", 0: "", -1: "worse"}
_KINDS = ("all", "positions", "lengths", "map", "kept", "training")
"""Figures by the first word of their names, which is the section they stand in."""

_DRAW = """
const options = {renderer: "svg", ast: true, actions: false, tooltip: {theme: "custom"}};
const specs = JSON.parse(document.getElementById("charts").textContent);
for (const place of document.querySelectorAll("[data-chart]"))
  vegaEmbed(place, specs[place.dataset.chart], options);
"""


def write_report(run: str | Path) -> Path:
    """Write `report.html` and `figures/` into a run's folder, and return the page's path.

    Raises:
        DataError: If a file of the run is missing or malformed; names it and the command that writes it.
    """
    loaded = load(Path(run))
    positions, others, measures = (
        figures.position_figures(loaded),
        figures.other_figures(loaded),
        figures.measures(loaded),
    )
    page = render(loaded, positions + others, measures)
    pictured = [figure for figure in positions if figure.name in ("positions-kv", "positions-mdqa")]
    overview = [charts.overview(pictured or positions[:2])] if positions else []
    for figure in [*positions, *others, *(each.figure for each in measures), *overview]:
        save(figure, loaded.folder / "figures")
    # The page comes last: whoever finds it finds its figures too.
    path = loaded.folder / "report.html"
    write_text(path, page)
    return path


def render(run: Run, drawn: Sequence[Figure], measures: Sequence[figures.MeasureFigure]) -> str:
    """Return the page.

    Args:
        run: What it is about.
        drawn: Its figures, but those of measures.
        measures: Those, with their tables.
    """
    import vl_convert
    from markupsafe import Markup

    comparison, level = run.comparison, run.comparison["level"]
    script = vl_convert.javascript_bundle(_DRAW, vl_version=vegalite_version())
    browser_script = (_HERE / "browser.js").read_text(encoding="utf-8")
    everything = [*drawn, *(each.figure for each in measures)]
    specs = {f"{each.name}/{i}": spec for each in everything for i, spec in enumerate(interactive(each))}
    overall = _overall(run)
    # Of several trainings the mean is what was asked.
    told = [run.mean] if run.mean else run.sides
    return _template().render(
        run=run,
        comparison=comparison,
        heading=_heading(run),
        verdicts=[_verdict(run, side) for side in told if side.benchmarks],
        tiles=_tiles(run, told[0]) if len(told) == 1 else [],
        sides=("Before", "After") if len(run.sides) == 1 else ("First", "This"),
        overall=overall,
        p_called="p" if run.mean else "Exact p",
        adjusted=any("adjusted_p" in each["row"] for each in overall),
        level=f"{100 * level:.0f}%",
        figures={kind: [each for each in drawn if each.name.partition("-")[0] == kind] for kind in _KINDS},
        tables=figures.numbers(run),
        shapes=figures.shapes(run),
        measures=measures,
        training=text.training(run.training),
        examples=_examples(run, most := 3 if len(run.sides) == 1 else 1),
        most=("one", "two", "three")[most - 1],
        held=MOST,
        left_out=bool(left_out(comparison)),
        notes=notes(comparison),
        meanings=_meanings(run),
        limits=text.limits(comparison),
        way=lambda name, row: _WAYS[text.direction(name, row, level)],
        where=text.where,
        # Quoted by us, not by autoescape: a hash holds + and /, and a policy wants its single quotes.
        script_sources=Markup(f"{_hash(script)} {_hash(browser_script)}"),
        script=Markup(script),
        browser_script=Markup(browser_script),
        specs=Markup(inline_json(specs)),
        predictions=Markup(inline_json(embedded(run))),
    )


def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # All that is printed passes here, so no text of a model reaches the page with control characters.
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    filters: dict[str, Callable[..., Any]] = {
        each.__name__: each
        for each in (text.percent, text.points, text.p_value, text.clip, text.duration, text.significant, text.failed)
    }
    environment.filters.update(filters)
    return environment.get_template("report.html.jinja")


def _heading(run: Run) -> str:
    base, *others = (text.model_name(each) for each in (run.comparison["before"], *(side.model for side in run.sides)))
    if run.training:
        return f"What finetuning changed in {base}"
    return f"{base} against {others[0] if len(others) == 1 else f'{len(others)} others'}"


def _verdict(run: Run, side: Side) -> str:
    compared = run.comparison | {"after": side.model, "benchmarks": side.benchmarks}
    is_trained = len(run.sides) == 1 or side is run.mean
    return text.verdict(compared, run.training.get("haystacks") if is_trained else None)


def _overall(run: Run) -> list[dict[str, Any]]:
    """Return a row for each benchmark and run that is compared with the first."""
    return [
        {
            "name": name,
            "title": title,
            "run": side.label if len(run.sides) > 1 else "",
            "part": text.is_part(name, run.titles),
            "row": side.benchmarks[name]["overall"],
        }
        for name, title in run.titles.items()
        for side in run.compared
        if name in side.benchmarks
    ]


def _meanings(run: Run) -> list[tuple[str, str]]:
    """Return the title of each benchmark, and what counts as a hit."""
    said = {name: each.get("meaning", "") for side in run.sides for name, each in side.benchmarks.items()}
    return [(title, said[name]) for name, title in run.titles.items() if said.get(name)]


def _tiles(run: Run, side: Side) -> list[dict[str, str]]:
    return [
        {
            "label": each["title"],
            "value": text.percent(row["after"]),
            "note": f"from {text.percent(row['before'])}, n = {row['n']:,}",
            "change": f"{text.points(row['change'])} points",
            "way": _WAYS[text.direction(name, row, run.comparison["level"])],
        }
        for name, each in side.benchmarks.items()
        if not text.is_part(name, side.benchmarks)
        for row in [each["overall"]]
    ]


def _examples(run: Run, most: int) -> list[dict[str, Any]]:
    """Return needles whose answer turned right or wrong: up to `most` of each kind, benchmark and run."""
    found = []
    for name in run.answers:
        for number, side in enumerate(run.sides):
            pairs = run.pairs(name, number)
            counts = fates.fates(pairs, "")
            for kind, fate in (("missed, then hit", "gained"), ("hit, then missed", "lost")):
                if counts[fate]:
                    found.append(
                        {
                            "title": run.titles.get(name, name),
                            "run": side.label if len(run.sides) > 1 else "",
                            "kind": kind,
                            "count": counts[fate],
                            "link": urlencode({"benchmark": name, "fate": fate, "run": number + 1}),
                            "pairs": fates.examples(pairs, found=fate == "gained", most=most),
                        }
                    )
    return found


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def inline_json(value: object) -> str:
    """Return JSON that no text inside it can end: safe between <script> tags."""
    # json's own ASCII escapes take care of U+2028, U+2029 and lone surrogates.
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
