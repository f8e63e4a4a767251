"""Verbs about models: predict, models, promote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cvflow.cli.output import Json, print_json, print_table


def predict(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, NAME (its champion), or a model directory.")],
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A folder of images, an image, Parquet, or a prepared dataset.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")] = Path("predictions"),
    workers: Annotated[int, typer.Option("--workers", min=0, help="0: this process. n: n Ray actors.")] = 0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images a batch.")] = 256,
    split: Annotated[str, typer.Option("--split", help="Of a prepared dataset.")] = "test",
    overlays: Annotated[int, typer.Option("--overlays", min=0, help="So many images with the answer drawn, in OUT/overlays.")] = 0,
    as_json: Json = False,
) -> None:
    """Predict in batches; writes Parquet with model version and data hash. Killed, the same command goes on where it was.

    Example:  cvflow predict models:/digits@champion photos/ --out answers
    """
    from cvflow.stages.api import predict_batch

    written = predict_batch(model, source, out, workers=workers, batch_size=batch_size, split=split, overlays=overlays)
    if as_json:
        print_json({"path": str(written.path), "rows": written.rows, "faults": written.faults})
        return
    faults = f", {written.faults} unreadable (see the column 'error')" if written.faults else ""
    typer.echo(f"{written.rows} rows in {written.path}{faults}")


def models(name: Annotated[str | None, typer.Argument(help="Only this model.")] = None, as_json: Json = False) -> None:
    """List the registered models: versions, aliases, metrics.

    Example:  cvflow models digits
    """
    from cvflow.runtime.model_registry import find_version, versions

    found = versions(name)
    if name is not None and not found:
        find_version(f"models:/{name}@champion")  # says which models there are
    if as_json:
        print_json([vars(version) for version in found])
        return
    if not found:
        typer.echo("no models yet; type: cvflow run digits")
        return
    rows = [(v.name, v.version, ", ".join(v.aliases), "  ".join(f"{k} {x:.4g}" for k, x in v.metrics.items()), v.created) for v in found]
    print_table(("MODEL", "VERSION", "ALIASES", "TEST METRICS", "CREATED"), rows)


def promote(
    name: Annotated[str, typer.Argument(help="The registered model.")],
    version: Annotated[int, typer.Argument(help="The version that becomes champion.")],
    as_json: Json = False,
) -> None:
    """Make a version the champion by hand.

    Example:  cvflow promote digits 2
    """
    from cvflow.runtime.model_registry import set_alias

    set_alias(name, "champion", version)
    if as_json:
        print_json({"model": name, "champion": version})
    else:
        typer.echo(f"{name} version {version} is champion")


def add_to(app: typer.Typer) -> None:
    app.command()(predict)
    app.command()(models)
    app.command()(promote)
