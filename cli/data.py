"""Verbs about raw data: data check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cvflow.cli.output import Json, Plugins, print_json

NAMED = 3
"""Findings of each topic that are shown on the terminal; the page has them all."""
data = typer.Typer(name="data", no_args_is_help=True)


@data.callback()
def _verbs() -> None:
    """Look at raw data.

    Example:  cvflow data check ~/flowers
    """


@data.command()
def check(
    source: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder, zip, manifest or Parquet of annotated images.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="The format's options, as in data.format.faulty_rows=leave_out."
        ),
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", help="Its format; found out by default.")
    ] = None,
    task: Annotated[str, typer.Option("--task", help="The vision task.")] = "classification",
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("data-check.html"),
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Look at every image: counts, sizes, what cannot be read, duplicates across splits, doubtful
    labels; with samples of each class.

    Findings are no failure: the exit code is 0. Faulty rows of a table are refused, or listed with
    data.format.faulty_rows=leave_out.

    Example:  cvflow data check ~/flowers
    """
    from cvflow.project.project import parse_overrides
    from cvflow.verbs.data_check import check_data

    seen = check_data(source, format_name, task, out, parse_overrides(overrides or []), plugin or ())
    if as_json:
        print_json(
            {
                "format": seen.format,
                "classes": seen.classes,
                "page": str(seen.page),
                **seen.validation.plain(),
            }
        )
        return
    total = sum(seen.validation.counts.values())
    typer.echo(f"{total} images, {len(seen.classes)} classes, read as {seen.format}")
    for topic, count in seen.validation.topics().items():
        typer.echo(f"  {topic}: {count}")
        for finding in [f for f in seen.validation.findings if f.topic == topic][:NAMED]:
            typer.echo(f"    {finding}")
        if count > NAMED:
            typer.echo("    ...")
    typer.echo(f"page         {seen.page}")


def add_to(app: typer.Typer) -> None:
    app.add_typer(data)
