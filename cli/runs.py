"""Verbs about recipes and runs: run, stage, list, show, compare, new."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cvflow.cli.output import Json, Plugins, print_json, print_table, stdout_to_stderr

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Recipe keys to set, as in train.epochs=3."),
]
RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A name that 'cvflow list' shows, or a YAML path.",
        autocompletion=lambda: names(),
    ),
]


def names() -> list[str]:
    from cvflow.project.project import recipes

    return list(recipes())


def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="The run's name; the recipe's by default.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the recipe and show which stages would run.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what DVC does.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors and the result.")] = False,
    as_json: Json = False,
) -> None:
    """Take a recipe from raw data to a registered model, predictions and a report.

    Stages that are up to date are skipped. Overrides given last time and not now are dropped.

    Examples:  cvflow run digits  |  cvflow run digits train.epochs=3 --name quick  |  cvflow run
    mine.yaml compute.workers=2
    """
    from cvflow.project import pipeline
    from cvflow.project.project import parse_overrides

    if dry_run:
        steps = pipeline.dry_run(recipe, parse_overrides(overrides or []), name)
        if as_json:
            print_json([step._asdict() for step in steps])
        else:
            print_table(
                ("STAGE", "WOULD"),
                [(s.stage, f"run: {s.why}" if s.why else "be skipped: up to date") for s in steps],
            )
        return
    program = (
        "cvflow" if shutil.which("cvflow") else sys.argv[0]
    )  # asked before DVC's commands are given a PATH
    with stdout_to_stderr(as_json):
        outcome = pipeline.run(recipe, parse_overrides(overrides or []), name, quiet=quiet, verbose=verbose)
    if as_json:
        print_json(outcome.to_dict())
        return
    scores = "  ".join(f"{key} {value:.4f}" for key, value in outcome.metrics.items())
    typer.echo(f"\n{outcome.split}         {scores}")
    typer.echo(f"model        models:/{outcome.model}/{outcome.version}  ({outcome.reason})")
    typer.echo(f"             {outcome.model_dir}")
    typer.echo(f"predictions  {outcome.predictions}")
    typer.echo(f"report       {outcome.report}")
    typer.echo(f"MLflow UI    {program} ui")


def stage(
    stage_name: Annotated[
        str,
        typer.Argument(
            metavar="STAGE", help="resolve, prepare, train, evaluate, register, predict or report."
        ),
    ],
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="A run of params.yaml.")],
) -> None:
    """Run one stage of a run by itself, as DVC does.

    Example:  cvflow stage evaluate digits
    """
    from cvflow.project.pipeline import run_stage

    run_stage(stage_name, run_name)


def list_recipes(as_json: Json = False) -> None:
    """List the recipes: the shipped ones and those in ./pipelines.

    Example:  cvflow list --json
    """
    from cvflow.project.project import describe_recipes

    rows = describe_recipes()
    if as_json:
        print_json([{"name": name, "description": text, "path": path} for name, text, path in rows])
    else:
        print_table(("RECIPE", "WHAT", "FILE"), rows)


def show(
    recipe: RecipeName,
    overrides: Overrides = None,
    sources: Annotated[bool, typer.Option("--sources", help="Also show where each value came from.")] = False,
    as_json: Json = False,
) -> None:
    """Print the resolved recipe: every key, defaults filled in, checked.

    Example:  cvflow show digits train.epochs=3 --sources
    """
    from cvflow.project.project import parse_overrides
    from cvflow.verbs.show import show_recipe, with_sources

    resolved = show_recipe(recipe, parse_overrides(overrides or []))
    if sources:
        rows = with_sources(resolved)
        if as_json:
            print_json([{"key": key, "value": value, "source": source} for key, value, source in rows])
        else:
            print_table(("KEY", "VALUE", "SOURCE"), rows)
    elif as_json:
        print_json(resolved.recipe)
    else:
        import yaml

        typer.echo(yaml.safe_dump(resolved.recipe, sort_keys=False), nl=False)


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Finished runs of params.yaml.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page; runs/compare-RUN-RUN.html by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put runs beside each other: what differs, how good each is, what it cost, and on which images
    they disagree.

    Example:  cvflow compare digits quick
    """
    from cvflow.verbs.compare import compare as compare_runs
    from cvflow.verbs.comparison_page import short

    comparison = compare_runs(runs, out)
    if as_json:
        print_json(comparison.plain())
        return
    for title, table in (
        ("MEASURE", comparison.metrics),
        ("RECIPE", comparison.recipe),
        ("COST", comparison.cost),
    ):
        print_table((title, *comparison.runs), [(key, *map(plain, row)) for key, row in table.items()])
        typer.echo()
    if not comparison.same_data:
        typer.echo(f"not measured on the same data: {', '.join(map(short, comparison.measured_on))}")
    for pair in comparison.disagreements:
        typer.echo(said(pair))
    typer.echo(f"page  {comparison.page}")


def plain(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def said(pair: Mapping[str, Any]) -> str:
    """One line on where two runs disagree."""
    first, second = pair["runs"]
    if "only_first" not in pair:
        return f"{first} and {second}: {pair['images']} images of both"
    p = f"; McNemar's exact test p = {pair['p_value']:.3g}" if pair["p_value"] is not None else ""
    return (
        f"of {pair['images']} images, only {first} right: "
        f"{pair['only_first']}, only {second} right: {pair['only_second']}{p}"
    )


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new recipe's and run's name.")],
    data: Annotated[Path, typer.Option("--data", help="The folder of images.")],
    task: Annotated[str, typer.Option("--task", help="The vision task.")] = "classification",
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Write a recipe and a run entry for your own data, by looking at it.

    Example:  cvflow new flowers --task classification --data ~/flowers
    """
    from cvflow.verbs.new import new_recipe

    path, summary = new_recipe(name, task, data, plugin or ())
    if as_json:
        print_json({"recipe": path, "run": name, "seen": summary})
    else:
        typer.echo(f"{summary}\nwrote {path}; now type: cvflow run {name}")


def add_to(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(stage)
    app.command("list")(list_recipes)
    app.command()(show)
    app.command()(compare)
    app.command()(new)
