"""The page about a dataset: counts, findings, sizes, and some images of each class with their annotation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

import numpy as np
from PIL import Image

from cvflow.annotations.image import ImageFault, Pixels, decode
from cvflow.dataset.label_suspects import LEAST_ACCURACY, NEIGHBOURS
from cvflow.dataset.validation import Finding, Validation, printable
from cvflow.draw import Block, Facts, Gallery, Item, Numbers, Section, Table, Text, page
from cvflow.formats.record import Record
from cvflow.tasks.base import Task

SHOWN = 200
"""Findings that the page lists of each topic; the JSON has all."""
PICTURED = 24
"""Findings of a topic that are shown as pictures too."""
SIDE = 128
ROW = 4
"""Samples of a class that are worth a row of their own."""


def data_page(title: str, validation: Validation, task: Task, subtitle: str = "") -> str:
    """The page as HTML. The task was told what the dataset is."""
    sections = [
        Section("Images", list(_overview(validation))),
        Section("Findings", list(_findings(validation, task)) or [Text("Nothing.")]),
    ]
    if samples := list(_samples(validation, task)):
        sections.append(Section("Samples", samples, "Drawn over all the data, as annotated."))
    return page(title, sections, subtitle)


def _samples(validation: Validation, task: Task) -> Iterator[Block]:
    """A gallery a class, so that each begins a row; one for all where there are too many classes
    for more than a few of each.
    """
    by_class = groupby(validation.examples, lambda record: record.annotation.get(task.schema.stratify or ""))
    classes = [list(records) for _, records in by_class]
    for records in classes if max(map(len, classes), default=0) >= ROW else [validation.examples]:
        if pictures := [item for record in records for item in _item(record, task)]:
            yield Gallery(pictures, side=SIDE)


def _overview(validation: Validation) -> Iterator[Block]:
    lost = sum(finding.action == "left out" for finding in validation.findings)
    classes = list(dict.fromkeys(c for counts in validation.class_counts.values() for c in counts))
    numbers = {
        "images": sum(validation.counts.values()),
        "left out": lost,
        "findings": len(validation.findings),
    }
    yield Numbers({**numbers, **({"classes": len(classes)} if classes else {})})
    rows = [[c, *(counts[c] for counts in validation.class_counts.values())] for c in classes]
    yield Table(["class", *validation.counts], [["all", *validation.counts.values()], *rows], "Rows")
    if pixels := validation.facts.get("pixel_counts"):
        yield pixel_table(pixels)
    yield Facts(dict(_facts(validation)))
    if sizes := validation.facts.get("sizes"):
        different = validation.facts["different_sizes"]
        yield Table(
            ["width", "height", "images"],
            sizes,
            f"Sizes in pixels ({different} different, the most frequent)",
        )


def pixel_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """counts: split -> class -> pixels. What part of a split's pixels each class has, void left out."""
    totals = {split: total for split, pixels in counts.items() if (total := sum(pixels.values()))}
    rows = [
        [c, *(counts[split][c] / total for split, total in totals.items())]
        for c in next(iter(counts.values()))
    ]
    return Table(["class", *totals], rows, "Share of the pixels", bars=list(totals))


def _facts(validation: Validation) -> Iterator[tuple[str, str]]:
    facts = validation.facts
    for name in ("width", "height"):
        if spread := facts.get(name):
            yield name, "{least} to {greatest} pixels, median {median:g}, mean {mean:g}".format(**spread)
    for name in ("void", "unknown"):
        if facts.get(name) is not None:
            yield name, f"{facts[name]:.1%} of the pixels"
    if facts.get("imbalance"):
        yield "largest class to smallest", f"{facts['imbalance']:g} : 1 in train"
    elif trained := validation.class_counts.get("train"):
        yield "largest class to smallest", f"{max(trained.values())} : 0 in train"
    if vote := facts.get("neighbour_vote"):
        yield "label suspects", _vote_in_words(vote["compared"], vote["accuracy"], vote["suspects"])


def _vote_in_words(compared: int, accuracy: float | None, suspects: int) -> str:
    method = f"leave-one-out vote of the {NEIGHBOURS} nearest by thumbnail among {compared} images"
    if accuracy is None:
        return f"not looked for: too few images or classes for a {method}"
    if accuracy < LEAST_ACCURACY:
        return (
            f"none named: the {method} is right for {accuracy:.0%} only, "
            "so that thumbnails do not tell these classes apart"
        )
    return (
        f"{suspects}, whose neighbours all carry other labels, "
        f"by a {method}, which is right for {accuracy:.1%}"
    )


def _findings(validation: Validation, task: Task) -> Iterator[Block]:
    """One table a topic, in the findings' order, and below it the pictures that can be shown."""
    topics: dict[str, list[Finding]] = {}
    for finding in validation.findings:
        topics.setdefault(finding.topic, []).append(finding)
    for topic, topic_findings in topics.items():
        rows = [[f.name, f.what, f.action] for f in topic_findings[:SHOWN]]
        more = f", the first {SHOWN}" if len(topic_findings) > SHOWN else ""
        yield Table(
            ["file", "what", "action"], rows, f"{topic[0].upper()}{topic[1:]} ({len(topic_findings)}{more})"
        )
        if pictures := [
            item
            for f in topic_findings[:PICTURED]
            for record in f.records
            for item in _item(record, task, f.action == "kept")
        ]:
            yield Gallery(pictures)


def _item(record: Record, task: Task, annotated: bool = True) -> Iterator[Item]:
    """The picture of a record, if it is one. annotated: whether its annotation can be drawn on it."""
    try:
        pixels = decode(record.images[task.schema.images[0]](), max_megapixels=task.max_megapixels)
        values = (
            {**record.annotation, **{name: read() for name, read in record.maps.items()}} if annotated else {}
        )
    except (ImageFault, OSError):  # gone since it was counted
        return
    drawn, caption = (
        (task.answer.draw(pixels, values), task.answer.caption(values)) if annotated else (pixels, "")
    )
    yield Item(_shrunk(drawn), caption, note=printable(record.path))


def _shrunk(pixels: Pixels) -> Pixels:
    """At most twice the size that is shown: many photographs do not fit in memory."""
    image = Image.fromarray(pixels)
    image.thumbnail((2 * SIDE, 2 * SIDE))
    return np.asarray(image)
