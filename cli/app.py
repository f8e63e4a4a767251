"""The Typer application: every verb."""

from __future__ import annotations

from typing import Annotated

import typer

from cvflow import __version__
from cvflow.cli import data, machine, models, runs, train, tune

app = typer.Typer(
    name="cvflow",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="From raw annotated images to a registered model and its predictions, in one short recipe.",
    epilog="Start with: cvflow run digits",
)


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"cvflow {__version__}")
        raise typer.Exit


for module in (runs, train, models, machine, data, tune):
    module.add_to(app)
