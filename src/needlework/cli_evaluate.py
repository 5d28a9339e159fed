"""The command that evaluates a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from needlework.cli_data import Set, checked
from needlework.errors import UserError

CONTINUE = "Stopped. The same command continues where this one stopped."

BaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="Ask an OpenAI-compatible server, such as http://localhost:8000/v1.")
]
Tokenizer = Annotated[
    str | None, typer.Option(help="With --base-url: model whose tokenizer counts lengths; default: the recipe's.")
]
Concurrency = Annotated[int | None, typer.Option(min=1, help="With --base-url: concurrent requests; default: 8.")]
PerMinute = Annotated[float | None, typer.Option(min=0.01, help="With --base-url: most prompts sent per minute.")]
Timeout = Annotated[
    float | None, typer.Option(min=0.1, max=86400, help="With --base-url: seconds per answer; default: 120.")
]
Price = Annotated[
    str | None, typer.Option(metavar="IN,OUT", help="With --base-url: dollars per million tokens, to show the cost.")
]
Cache = Annotated[
    bool | None,
    typer.Option(help="Reuse answers of earlier runs and keep new ones; default: yes, but no with --base-url."),
]


def evaluate(
    model: Annotated[str, typer.Argument(help="smollm2-135m, a folder, a Hugging Face id, or its name on the server.")],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for the results.")],
    benchmarks: Annotated[str, typer.Option(help="Comma-separated names; default: the recipe's.")] = "",
    recipe: Annotated[str, typer.Option(help="Recipe with the benchmarks and their settings.")] = "smollm2-135m",
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help="Evaluate on your own haystacks.")] = None,
    base: Annotated[str | None, typer.Option(metavar="MODEL", help="Model it was made from, for drift.")] = None,
    backend: Annotated[str, typer.Option(help="Library that runs the model: hf or vllm.")] = "hf",
    base_url: BaseUrl = None,
    tokenizer: Tokenizer = None,
    concurrency: Concurrency = None,
    requests_per_minute: PerMinute = None,
    timeout: Timeout = None,
    price: Price = None,
    cache: Cache = None,
    skip_too_long: Annotated[
        bool, typer.Option("--skip-too-long", help="Leave out prompts that exceed the context, and count them.")
    ] = False,
    set: Set = None,
) -> None:
    """Evaluate a model on benchmarks.

    Writes its predictions and a summary; a folder of the same model gets the benchmarks that it lacks.
    """
    from needlework import backends, pipeline, served
    from needlework import recipe as recipes
    from needlework.benchmark_settings import choose
    from needlework.interrupt import exit_on_interrupt
    from needlework.progress import Terminal

    own = [f"evaluate.own.file={json.dumps(str(data))}"] if data else []
    loaded = checked(recipes.load(recipe, [*own, *(set or [])]))
    names = [name.strip() for name in benchmarks.split(",")] if benchmarks else []
    chosen = choose(loaded.evaluate, [*names, "own"] if data else names)
    if base and not chosen.drift:
        raise UserError("--base is for drift, which is not among the benchmarks. Name it: --benchmarks drift.")
    loaded = loaded.model_copy(update={"evaluate": chosen})
    asked = ", ".join(name for name, section in dict(chosen).items() if section)
    print(f"Benchmarks, with the settings of the recipe {recipe}: {asked}")
    prices = _prices(price)
    if base_url is None:
        given = {"tokenizer": tokenizer, "concurrency": concurrency, "timeout": timeout, "price": price}
        given["requests-per-minute"] = requests_per_minute
        if wrong := [name for name, value in given.items() if value is not None]:
            raise UserError(f"--{wrong[0]} goes with --base-url, the address of a server.")
        if backend not in get_args(backends.Kind):
            raise UserError(f"there is no backend {backend!r}. Known: {', '.join(get_args(backends.Kind))}.")
        asking = backends.Asking(backend, cache is not False, skip_too_long)  # type: ignore[arg-type]
        config = loaded.model.model_copy(update={"name": model})
        exit_on_interrupt(CONTINUE)
        summary = pipeline.evaluate(config, loaded.evaluate, loaded.seed, output, Terminal(), base, asking)
    else:
        if backend != "hf":
            raise UserError(f"--base-url asks a server, so leave out --backend {backend}.")
        server = served.Server(base_url, concurrency or 8, requests_per_minute, timeout, bool(cache), skip_too_long)
        if tokenizer:
            lent = loaded.model.model_copy(update={"name": tokenizer})
            loaded = loaded.model_copy(update={"model": lent})
        exit_on_interrupt(CONTINUE)
        summary = served.evaluate(model, server, loaded, output, Terminal())
    _print_summary(summary, prices)


def _prices(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        read, written = map(float, text.split(","))
        if min(read, written) >= 0:
            return read, written
    except ValueError:
        pass
    raise UserError(f"--price {text!r} should be the dollars for a million tokens in and out, such as 0.15,0.60.")


def _print_summary(summary: dict[str, Any], prices: tuple[float, float] | None) -> None:
    from needlework.report.measures import most

    read = written = 0
    for name, each in summary["benchmarks"].items():
        skipped = f", {each['skipped']} too long and skipped" if each["skipped"] else ""
        print(f"{name:20} {each['accuracy']:6.1%}  n = {each['n']}{skipped}")
        read, written = read + each["prompt_tokens"], written + (each["output_tokens"] or 0)
    for name, each in summary.get("measures", {}).items():
        print(f"{name:20} {most(each['means'])}  n = {each['n']}")
    if prices:
        cost = (read * prices[0] + written * prices[1]) / 1e6
        print(f"tokens               {read:,} in, {written:,} out: ${cost:,.2f}, if all were asked once")
