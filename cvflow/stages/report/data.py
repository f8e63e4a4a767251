"""What a run was trained and measured on: counts, classes, pixels, what prepare left out or noticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cvflow.draw import Block, Facts, Link, Numbers, Table
from cvflow.draw.scale import number
from cvflow.stages.prepare.data_page import pixel_table
from cvflow.stages.report.finished_run import Finished

FINDINGS = 50
SIZES = 4


def data_blocks(done: Finished) -> Iterator[Block]:
    info, checked = done.dataset.info, done.read("validation.json")
    yield Numbers({**info.counts, "classes": len(info.classes) or None})
    yield Facts(facts(done, checked.get("facts", {})), "Images")
    by_class = info.extra.get("class_counts", {})
    if by_class:
        splits = list(info.counts)
        rows = [[c, *(by_class.get(split, {}).get(c, 0) for split in splits)] for c in info.classes]
        yield Table(["class", *splits], rows, "Samples of each class", bars=splits)
    if pixels := info.extra.get("pixel_counts"):
        yield pixel_table(pixels)
    findings = checked["findings"]
    if findings:
        rows = [[f["file"], f["what"], f["action"]] for f in findings[:FINDINGS]]
        first = f"the first {FINDINGS} of " if len(findings) > FINDINGS else ""
        yield Table(["file", "what", "action"], rows, f"Findings: {first}{number(len(findings))}")


def facts(done: Finished, seen: Mapping[str, Any]) -> dict[str, object]:
    """The images as they are and as the model sees them. seen: what prepare noted of all images."""
    info, image = done.dataset.info, done.recipe.image
    sizes = [
        f"{number(width)} x {number(height)} ({number(count)})"
        for width, height, count in seen.get("sizes", ())[:SIZES]
    ]
    more = seen.get("different_sizes", 0) - len(sizes)
    return {
        **{f"{side}, pixels": spread(seen[side]) for side in ("width", "height") if seen.get(side)},
        **(
            {
                "most frequent, width x height": ", ".join(sizes)
                + (f" and {number(more)} more" if more > 0 else "")
            }
            if sizes
            else {}
        ),
        "the model sees": f"{image.size[1]} x {image.size[0]} pixels, "
        f"{'grey' if image.channels == 1 else 'RGB'}, {image.resize}",
        "pixel mean, of 1": channels(info.mean),
        "pixel deviation": channels(info.std),
        "checked": Link("everything that was found", "data.html"),
    }


def spread(lengths: Mapping[str, float]) -> str:
    least, greatest = lengths["least"], lengths["greatest"]
    return (
        number(least)
        if least == greatest
        else f"{number(least)} to {number(greatest)}, median {number(round(lengths['median']))}"
    )


def channels(values: Sequence[float]) -> str:
    """One number where all channels are equal."""
    texts = [number(value, 3) for value in values]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)
