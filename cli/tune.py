"""The verb that searches for better settings: tune."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cvflow.cli.output import Json, print_json, print_table, stdout_to_stderr
from cvflow.cli.runs import RecipeName

SHOWN = 10
Space = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Keys to search, as in 'train.epochs=int(3,9)', and plain ones to set."
    ),
]


def tune(
    recipe: RecipeName,
    space: Space = None,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="The search's name; RECIPE-search by default.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Trials in all (search.samples).")
    ] = None,
    algorithm: Annotated[
        str | None, typer.Option("--algorithm", help="grid, random, evolution, tpe or cmaes.")
    ] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="none, asha, median or pbt.")] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Train the best on train and val, measure and register it.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors and the result.")] = False,
    as_json: Json = False,
) -> None:
    """Search a recipe's settings. Interrupted or killed, the same command goes on; with more --samples too.

    The search is the recipe's section 'search', or what is typed: choice(a,b), uniform(0,1),
    loguniform(1e-4,1e-1), int(1,9), logint(8,512), grid(1,2). Quote them, for the shell.

    Example:  cvflow tune digits 'train.optimizer.lr=loguniform(1e-3,1)' --samples 20 --register
    """
    from cvflow.errors import InterruptedRunError
    from cvflow.project.project import parse_overrides
    from cvflow.verbs.search import SearchResult, search

    overrides: dict[str, Any] = parse_overrides(space or [])
    typed = {"samples": samples, "algorithm": algorithm, "scheduler": scheduler}
    overrides |= {f"search.{key}": value for key, value in typed.items() if value is not None}
    with stdout_to_stderr(as_json):
        result: SearchResult = search(recipe, overrides, name, register=register, quiet=quiet)
    if as_json:
        print_json({**vars(result), "registered": result.registered and result.registered.to_dict()})
    else:
        show(result)
    if result.interrupted:
        raise InterruptedRunError("interrupted; the same command goes on from there")


def show(result: Any) -> None:
    """The ranking, and where things are."""
    scored = [trial for trial in result.trials if trial["score"] is not None]
    keys = list(dict.fromkeys(key for trial in scored for key in trial["params"]))
    rows = [
        (
            place,
            trial["number"],
            f"{trial['score']:.4f}",
            trial["epochs"],
            trial["state"],
            *(_cell(trial["params"].get(key)) for key in keys),
        )
        for place, trial in enumerate(scored[:SHOWN], 1)
    ]
    typer.echo()
    if rows:
        print_table(("RANK", "TRIAL", result.metric.upper(), "EPOCHS", "STATE", *keys), rows)
    failed = sum(trial["state"] == "failed" for trial in result.trials)
    closed = f"; {result.closed}" if result.closed else ""
    typer.echo(f"\n{len(scored)} of {result.samples} trials have a score, {failed} failed{closed}")
    if result.best is not None:
        typer.echo(f"best         cvflow run {result.best} --name NAME")
    typer.echo(f"report       {result.page}")
    if result.registered is not None:
        outcome = result.registered
        scores = "  ".join(f"{key} {value:.4f}" for key, value in outcome.metrics.items())
        typer.echo(f"{outcome.split:12} {scores}")
        typer.echo(f"model        models:/{outcome.model}/{outcome.version}  ({outcome.reason})")


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def add_to(app: typer.Typer) -> None:
    app.command()(tune)
