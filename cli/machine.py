"""Verbs about the machine: doctor, ui."""

from __future__ import annotations

from typing import Annotated

import typer

from cvflow.cli.output import Json, print_json, print_table


def doctor(as_json: Json = False) -> None:
    """Say which versions, devices and services are here, and what to type for what is missing.

    Example:  cvflow doctor --json
    """
    from cvflow.verbs.doctor import examine

    findings = examine()
    if as_json:
        print_json([finding.plain() for finding in findings])
    else:
        print_table(
            ("", "WHAT", "FOUND", "TO TYPE"),
            [("ok" if f.ok else "!!", f.what, f.state, f.fix) for f in findings],
        )
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port to listen on.")] = 5000,
) -> None:
    """Open the MLflow UI on this project's store.

    Example:  cvflow ui --port 5001
    """
    from cvflow.runtime.ui import serve

    serve(port)


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)
    app.command()(ui)
