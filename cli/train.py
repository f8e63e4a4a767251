"""Verbs about training: lr-find, learning-curve."""

from __future__ import annotations

from typing import Annotated

import typer

from cvflow.cli.output import Json, print_json, print_table, stdout_to_stderr
from cvflow.cli.runs import Overrides, RecipeName

Name = Annotated[str | None, typer.Option("--name", "-n", help="The run's name; the recipe's by default.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors and the result.")]


def lr_find(
    recipe: RecipeName,
    overrides: Overrides = None,
    low: Annotated[float, typer.Option("--min", help="The first learning rate.")] = 1e-6,
    high: Annotated[float, typer.Option("--max", help="The last one.")] = 10.0,
    steps: Annotated[int, typer.Option("--steps", min=10, help="Optimiser steps between them.")] = 100,
    name: Name = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find a learning rate: raise it from step to step until the loss diverges.

    Nothing of that training is kept.

    Example:  cvflow lr-find digits train.batch_size=64 --max 3
    """
    from cvflow.project.project import parse_overrides
    from cvflow.verbs.lr_find import lr_find

    with stdout_to_stderr(as_json):
        suggestion = lr_find(recipe, parse_overrides(overrides or []), name, low, high, steps, quiet)
    if as_json:
        print_json(vars(suggestion))
        return
    typer.echo(f"steepest descent at  {suggestion.lr:g}")
    typer.echo(f"a tenth of the best  {suggestion.tenth:g}")
    typer.echo(f"plot                 {suggestion.plot}")
    typer.echo(f"now type             {suggestion.command}")


def learning_curve(
    recipe: RecipeName,
    overrides: Overrides = None,
    images: Annotated[
        str, typer.Option("--images", help="Training images a class, one run each.")
    ] = "1,2,4,8,16,32",
    name: Name = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what DVC does.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the recipe on ever more images a class and plot the test metric.

    Points that were run before are skipped.

    Example:  cvflow learning-curve digits --images 1,2,4,6,10 train.epochs=30
    """
    from cvflow.project.project import parse_overrides
    from cvflow.verbs.learning_curve import learning_curve, parse_images

    with stdout_to_stderr(as_json):
        curve = learning_curve(
            recipe, parse_images(images), parse_overrides(overrides or []), name, quiet, verbose
        )
    if as_json:
        print_json(curve.to_dict())
        return
    rows = [(p.images, p.trained_on, f"{p.metrics[curve.objective]:.4f}", p.run) for p in curve.points]
    print_table(("IMAGES A CLASS", "IN ALL", curve.objective.upper(), "RUN"), rows)
    typer.echo(f"plot  {curve.plot}")


def add_to(app: typer.Typer) -> None:
    app.command("lr-find")(lr_find)
    app.command("learning-curve")(learning_curve)
