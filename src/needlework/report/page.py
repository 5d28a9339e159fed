"""The report of a run: one HTML page that opens offline, and its figures. It only reads a run."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework.errors import DataError
from needlework.haystack import Prediction, read
from needlework.report import charts, text

if TYPE_CHECKING:
    import jinja2

_ROW = ("n", "clusters", "before", "before_low", "before_high", "after", "after_low", "after_high",
        "change", "low", "high", "p")  # fmt: skip
_STEP = ("step", "loss", "answer_accuracy")
_TABLES = ("by_position", "by_length", "by_length_and_position")
_AGAIN = "delete the file and run the command that writes it again"
_WAYS = {1: "better", 0: "", -1: "worse"}

_DRAW = """
const options = {renderer: "svg", ast: true, actions: false, tooltip: {theme: "custom"}};
const specs = JSON.parse(document.getElementById("charts").textContent);
for (const place of document.querySelectorAll("[data-chart]"))
  vegaEmbed(place, specs[place.dataset.chart], options);
"""


@dataclass(frozen=True)
class Run:
    """All that a report reads, checked."""

    folder: Path
    comparison: dict[str, Any]
    pairs: dict[str, list[text.Pair]]
    """By benchmark, in the order of their ids; a second score such as "kv.whole" has none of its own."""
    steps: list[dict[str, Any]]
    training: dict[str, Any]
    """Empty where nothing was trained."""
    seconds: dict[str, float]
    """How long each side's evaluation took."""
    environment: dict[str, Any]
    recipe: str


def write_report(run: str | Path) -> Path:
    """Write `report.html` and `figures/` into a run's folder, and return the page's path.

    Raises:
        DataError: If a file of the run is missing or malformed; names it and the command that writes it.
    """
    loaded = load(Path(run))
    positions, others = _figures(loaded)
    page = render(loaded, positions + others)
    folder = loaded.folder / "figures"
    folder.mkdir(exist_ok=True)
    pictured = [figure for figure in positions if figure.name in ("positions-kv", "positions-mdqa")]
    for figure in [*positions, *others, *([charts.overview(pictured or positions[:2])] if positions else [])]:
        charts.save(figure, folder)
    # The page comes last: whoever finds it finds its figures too.
    path = loaded.folder / "report.html"
    charts.write_whole(path, page.encode())
    return path


def load(folder: Path) -> Run:
    """Read and check a run's folder."""
    comparison = _comparison(folder)
    names = dict.fromkeys(name.split(".")[0] for name in comparison["benchmarks"])
    steps, training = [], {}
    if (folder / "train").is_dir():
        training = _object(folder / "train/summary.json", "needlework finetune")
        steps = _steps(folder / "train/metrics.jsonl")
    return Run(
        folder,
        comparison,
        {name: _pairs(folder, name) for name in names},
        steps,
        training,
        {side: _evaluation_seconds(folder / side / "summary.json") for side in ("before", "after")},
        _object(folder / "environment.json", "") if (folder / "environment.json").exists() else {},
        _text(folder / "recipe.yaml", "") if (folder / "recipe.yaml").exists() else "",
    )


def _comparison(folder: Path) -> dict[str, Any]:
    path = folder / "comparison.json"
    comparison = _object(path, "needlework compare")
    _require(path, comparison, ("before", "after", "level", "method", "benchmarks"))
    if not isinstance(comparison["benchmarks"], dict) or not comparison["benchmarks"]:
        raise DataError(f"{path} compares no benchmark; evaluate one before and after, then compare again")
    _require(path, comparison, ("level",), numbers=True)
    for name, each in comparison["benchmarks"].items():
        where = f"{path}, {name}"
        _require(where, each, ("title", "overall"))
        tables: dict[str, Any] = {table: each.get(table) or {} for table in _TABLES}
        if not all(isinstance(table, dict) for table in tables.values()):
            raise DataError(f"{where}: {', '.join(_TABLES)} should be JSON objects; {_AGAIN}")
        by_position, by_length, by_both = tables.values()
        rows = [each["overall"], *by_position.values(), *by_length.values()]
        for row in rows + [row for places in by_both.values() for row in places.values()]:
            _require(where, row, _ROW, numbers=True)
        title = text.visible(str(each["title"]))
        comparison["benchmarks"][name] = {"title": title, "overall": each["overall"]} | tables
    return comparison


def _pairs(folder: Path, name: str) -> list[text.Pair]:
    before, after = (
        {each.id: each for each in read(Prediction, _present(path, "needlework evaluate"))}
        for path in (folder / side / f"predictions-{name}.jsonl" for side in ("before", "after"))
    )
    if before.keys() != after.keys():
        odd = sorted(before.keys() ^ after.keys())[0]
        raise DataError(
            f"{folder}: {name} was not asked the same needles before and after (such as {odd!r}); "
            "evaluate both with the same recipe, then compare again"
        )
    return [text.Pair(before[each], after[each]) for each in sorted(before)]


def _steps(path: Path) -> list[dict[str, Any]]:
    steps = []
    for number, line in enumerate(_text(path, "needlework finetune").splitlines(), start=1):
        if line.strip():
            step = _parse(f"{path}, line {number}", line)
            _require(f"{path}, line {number}", step, _STEP, numbers=True)
            steps.append(step)
    return steps


def _evaluation_seconds(path: Path) -> float:
    summary = _object(path, "needlework evaluate")
    _require(path, summary, ("benchmarks",))
    for name, each in summary["benchmarks"].items():
        _require(f"{path}, {name}", each, ("seconds",), numbers=True)
    return float(sum(each["seconds"] for each in summary["benchmarks"].values()))


def _present(path: Path, command: str) -> Path:
    if not path.exists():
        raise DataError(f"{path.parent} has no {path.name}; run `{command}` first")
    return path


def _text(path: Path, command: str) -> str:
    try:
        return _present(path, command).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}; {_AGAIN}") from None


def _object(path: Path, command: str) -> dict[str, Any]:
    return _parse(path, _text(path, command))


def _parse(where: object, content: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not JSON: {error}; {_AGAIN}") from None
    if not isinstance(value, dict):
        raise DataError(f"{where} should hold a JSON object, not {type(value).__name__}; {_AGAIN}")
    return value


def _require(where: object, value: Any, keys: Iterable[str], *, numbers: bool = False) -> None:
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            raise DataError(f"{where} lacks {key!r}; {_AGAIN}")
        # json reads NaN and infinity, which no chart can show and no browser can parse.
        if numbers and not (isinstance(value[key], int | float) and math.isfinite(value[key])):
            raise DataError(f"{where}: {key} should be a finite number, not {value[key]!r}; {_AGAIN}")


def _figures(run: Run) -> tuple[list[charts.Figure], list[charts.Figure]]:
    benchmarks, positions, others = run.comparison["benchmarks"], [], []
    for name, each in benchmarks.items():
        rows, title = each["by_position"], each["title"]
        if len(rows) > 1:
            measure = "Depth" if next(iter(rows)).endswith("%") else "Position"
            axis = f"{measure} of the gold item in the context"
            positions.append(charts.positions(f"positions-{name}", title, rows, axis))
        if each["by_length_and_position"] and not text.is_part(name, benchmarks):
            others.append(charts.heat_map(f"map-{name}", title, each["by_length_and_position"]))
        elif len(each["by_length"]) > 1 and len(rows) < 2:
            axis = "Context length (tokens)"
            others.append(charts.positions(f"lengths-{name}", title, each["by_length"], axis))
        if text.is_kept(name):
            base, _, score = name.partition(".")
            others.append(charts.kept(f"kept-{name}", title, text.fates(run.pairs[base], score)))
    if run.steps:
        others.append(charts.training("training", run.steps))
    return positions, others


def render(run: Run, figures: Sequence[charts.Figure]) -> str:
    """Return the page."""
    import vl_convert
    from markupsafe import Markup

    comparison, benchmarks = run.comparison, run.comparison["benchmarks"]
    script = vl_convert.javascript_bundle(_DRAW, vl_version=charts.vegalite_version())
    specs = {f"{each.name}/{i}": spec for each in figures for i, spec in enumerate(charts.interactive(each))}
    groups = {
        kind: [figure for figure in figures if figure.name.partition("-")[0] == kind]
        for kind in ("positions", "lengths", "map", "kept", "training")
    }
    after = text.model_name(comparison["after"])
    before = text.model_name(comparison["before"])
    return _template().render(
        run=run,
        comparison=comparison,
        heading=f"What finetuning changed in {before}" if run.training else f"{before} against {after}",
        verdict=text.verdict(comparison, run.training.get("haystacks")),
        tiles=_tiles(comparison),
        level=f"{100 * comparison['level']:.0f}%",
        seconds=sum(run.seconds.values()),
        figures=groups,
        training=text.training(run.training),
        examples=_examples(run),
        command=run.environment.get("command", f"needlework report {run.folder}"),
        limits=text.limits(comparison),
        way=lambda row: _WAYS[text.direction(row, comparison["level"])],
        where=text.where,
        is_part=lambda name: text.is_part(name, benchmarks),
        # Quoted by us, not by autoescape: a hash holds + and /, and a policy wants its single quotes.
        script_source=Markup(_hash(script)),
        script=Markup(script),
        specs=Markup(inline_json(specs)),
    )


def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # All that is printed passes here, so no text of a model reaches the page with control characters.
        finalize=lambda value: text.visible(value) if type(value) is str else value,
    )
    filters: dict[str, Callable[..., Any]] = {
        each.__name__: each for each in (text.percent, text.points, text.p_value, text.clip, text.duration)
    }
    environment.filters.update(filters)
    return environment.get_template("report.html.jinja")


def _tiles(comparison: Mapping[str, Any]) -> list[dict[str, str]]:
    benchmarks = comparison["benchmarks"]
    return [
        {
            "label": each["title"],
            "value": text.percent(each["overall"]["after"]),
            "note": f"from {text.percent(each['overall']['before'])}",
            "change": f"{text.points(each['overall']['change'])} points",
            "way": _WAYS[text.direction(each["overall"], comparison["level"])],
        }
        for name, each in benchmarks.items()
        if not text.is_part(name, benchmarks)
    ]


def _examples(run: Run) -> list[dict[str, Any]]:
    benchmarks = run.comparison["benchmarks"]
    return [
        {
            "title": benchmarks.get(name, {"title": name})["title"],
            "kinds": [
                (kind, text.fates(pairs, "")[fate], text.examples(pairs, found=fate == "gained"))
                for kind, fate in (("missed, then hit", "gained"), ("hit, then missed", "lost"))
            ],
        }
        for name, pairs in run.pairs.items()
    ]


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def inline_json(value: object) -> str:
    """Return JSON that no text inside it can end: safe between <script> tags."""
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
    # json's own ASCII escapes take care of U+2028, U+2029 and lone surrogates.
    return "".join(escapes.get(char, char) for char in json.dumps(value, allow_nan=False))
