"""The command that offers our benchmarks to lm-evaluation-harness."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from needlework.cli_data import Set
from needlework.errors import UserError


def tasks_dir(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the task files.")],
    model: Annotated[str, typer.Option(help="Model to be evaluated; its tokenizer counts the lengths.")],
    benchmarks: Annotated[str, typer.Option(help="Comma-separated names; default: the recipe's.")] = "",
    recipe: Annotated[str, typer.Option(help="Recipe with the benchmarks and their settings.")] = "smollm2-135m",
    set: Set = None,
) -> None:
    """Write benchmarks as tasks of lm-evaluation-harness.

    Its --include_path takes the folder.
    """
    from needlework import preparation
    from needlework import recipe as recipes
    from needlework.benchmark_settings import MEASURES, choose
    from needlework.evaluation import build_benchmarks
    from needlework.harness.export import write_tasks
    from needlework.models import embedded
    from needlework.models.loading import adapted_by, load_config

    loaded = recipes.load(recipe, set or [])
    names = [name.strip() for name in benchmarks.split(",")] if benchmarks else []
    chosen = choose(loaded.evaluate, names)
    if chosen.general:
        raise UserError("general is lm-evaluation-harness's own already. Leave it out of --benchmarks.")
    if measured := [name for name in MEASURES if getattr(chosen, name)]:
        raise UserError(f"{measured[0]} is read from a model's weights and asks nothing. Leave it out of --benchmarks.")
    config = loaded.model.model_copy(update={"name": model})
    renderer = preparation.make_renderer(config)
    text = load_config(model, trust_remote_code=config.trust_remote_code).get_text_config()
    context = getattr(text, "max_position_embeddings", None)
    groups = write_tasks(build_benchmarks(chosen, loaded.seed, renderer), renderer, context, output)
    options = ["--include_path", str(output), "--tasks", ",".join(groups)]
    if renderer.tokenizer.chat_template is not None:
        options.append("--apply_chat_template")
    if config.system is not None:
        options += ["--system_instruction", config.system]
    base = adapted_by(model)
    weights = f"pretrained={embedded.located(base or model)}" + (f",peft={model}" if base else "")
    print(shlex.join(["lm_eval", "run", *options, "--model", "hf", "--model_args", weights]))
