"""Verbs about models: predict, models, promote, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cvflow.cli.output import Json, Plugins, print_json, print_table


def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="models:/NAME@ALIAS, models:/NAME/VERSION, NAME (its champion), or a model directory."
        ),
    ],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A folder of images, an image, Parquet, a prepared dataset; for "
            "pairs a folder of left/ and right/ or first/ and second/.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")] = Path("predictions"),
    workers: Annotated[int, typer.Option("--workers", min=0, help="0: this process. n: n Ray actors.")] = 0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images a batch.")] = 256,
    split: Annotated[str, typer.Option("--split", help="Of a prepared dataset.")] = "test",
    overlays: Annotated[
        int, typer.Option("--overlays", min=0, help="So many images with the answer drawn, in OUT/_overlays.")
    ] = 0,
    view: Annotated[
        list[str] | None,
        typer.Option(
            "--view", metavar="VIEW", help="Look at each image so, as predict.views; several multiply."
        ),
    ] = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Predict in batches; writes Parquet with model version and data hash.

    Killed, the same command goes on where it was.

    Maps are written as the field's files too, in OUT/_files: masks as index PNG, disparity as PFM
    and 16-bit PNG, flow as .flo and 16-bit PNG.

    Example:  cvflow predict models:/digits@champion photos/ --out answers
    """
    from cvflow.project.project import parse_overrides
    from cvflow.verbs.api import predict_batch

    views = [parse_overrides([f"--view={text}"])["--view"] for text in view or ()]
    written = predict_batch(
        model,
        source,
        out,
        workers=workers,
        batch_size=batch_size,
        split=split,
        overlays=overlays,
        views=views,
        plugins=plugin or (),
    )
    if as_json:
        print_json({"path": str(written.path), "rows": written.rows, "faults": written.faults})
        return
    faults = f", {written.faults} unreadable (see the column 'error')" if written.faults else ""
    typer.echo(f"{written.rows} rows in {written.path}{faults}")


def identify(
    model: Annotated[str, typer.Argument(help="As for predict; one that compares images.")],
    gallery: Annotated[
        Path,
        typer.Argument(
            help="Known identities: a folder of images for each, or one image each, named after it."
        ),
    ],
    probes: Annotated[Path, typer.Argument(help="Images to be identified: as INPUT of predict.")],
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Similarity that is accepted; the model's own by default."),
    ] = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Say whom images show: the most similar image of a gallery, and whether it is similar enough.

    Example:  cvflow identify models:/faces@champion people/ visitors/
    """
    from cvflow.verbs.identify import identify as find

    found, used = find(model, gallery, probes, threshold, plugins=plugin or ())
    if as_json:
        print_json({"threshold": used, "answers": [vars(one) for one in found]})
        return
    words = {True: "yes", False: "no", None: ""}
    rows = [
        (one.id, one.error)
        if one.error
        else (one.id, one.identity, f"{one.similarity:.3f}", words[one.accepted], one.nearest)
        for one in found
    ]
    print_table(
        ("IMAGE", "IDENTITY", "SIMILARITY", "ACCEPTED", "NEAREST"),
        [(*row, *[""] * (5 - len(row))) for row in rows],
    )
    typer.echo(
        "no threshold is known: type --threshold"
        if used is None
        else f"accepted from a similarity of {used:.3f} on"
    )


def models(
    name: Annotated[str | None, typer.Argument(help="Only this model.")] = None, as_json: Json = False
) -> None:
    """List the registered models: versions, aliases, metrics; of one model, its champions too.

    Example:  cvflow models digits
    """
    from cvflow.runtime.champions import reigns
    from cvflow.runtime.model_registry import find_version, versions

    found, history = versions(name), reigns(name) if name else []
    if name is not None and not found:
        find_version(f"models:/{name}@champion")  # says which models there are
    if as_json:
        print_json(
            [
                {**vars(v), "champion_since": [r.since for r in history if r.version == v.version]}
                if name
                else vars(v)
                for v in found
            ]
        )
        return
    if not found:
        typer.echo("no models yet; type: cvflow run digits")
        return
    rows = [
        (
            v.name,
            v.version,
            ", ".join(v.aliases),
            "  ".join(f"{k} {x:.4g}" for k, x in v.metrics.items()),
            v.created,
        )
        for v in found
    ]
    print_table(("MODEL", "VERSION", "ALIASES", "TEST METRICS", "CREATED"), rows)
    if history:
        typer.echo("")
        print_table(
            ("CHAMPION", "SINCE", "WHY"),
            [(reign.version, reign.since or "unknown", reign.why) for reign in history],
        )


def promote(
    name: Annotated[str, typer.Argument(help="The registered model.")],
    version: Annotated[int | None, typer.Argument(help="The version that becomes champion.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen and what the rule says.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="The former champion becomes champion again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a version the champion by hand, or go back to the former one.

    Examples:  cvflow promote digits 2 --dry-run  |  cvflow promote digits 2  |  cvflow promote
    digits --rollback
    """
    from cvflow.stages.register.promotion import promote_by_hand, roll_back

    change = roll_back(name, version, dry_run) if rollback else promote_by_hand(name, version, dry_run)
    if as_json:
        print_json({**vars(change), "by_rule": change.by_rule and vars(change.by_rule)})
        return
    before = (
        f", in place of version {change.champion}" if change.champion not in (None, change.version) else ""
    )
    typer.echo(f"{name} version {change.version} {'is' if change.done else 'would be'} champion{before}")
    if dry_run and change.by_rule:
        typer.echo(f"the rule says {change.by_rule.reason}")


def export(
    model: Annotated[str, typer.Argument(help="As for predict.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("model.onnx"),
    kind: Annotated[Literal["onnx"], typer.Option("--format", help="The kind of file.")] = "onnx",
    check: Annotated[
        Path | None,
        typer.Option("--check", help="Real images (an INPUT of predict) to compare with torch on, too."),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Of a prepared dataset.")] = "test",
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Write a model for other programs to run; refused where its answers differ from torch's.

    Example:  cvflow export models:/digits@champion --format onnx --out digits.onnx --check runs/digits/data
    """
    from cvflow.verbs.onnx_file import export as write

    written = write(model, out, check, split, plugin or ())
    if as_json:
        print_json(vars(written))
    else:
        typer.echo(
            f"{written.path}: {written.checked} images, greatest difference to torch {written.difference:.2g}"
        )


def add_to(app: typer.Typer) -> None:
    app.command()(predict)
    app.command()(identify)
    app.command()(models)
    app.command()(promote)
    app.command()(export)
