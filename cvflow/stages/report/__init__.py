"""report: one self-contained HTML page of a run: how it trained, how good it is, on what, and where
it came from.
"""

from __future__ import annotations

from collections.abc import Sequence

from cvflow.draw import Numbers, Section, page
from cvflow.project.graph import Run
from cvflow.project.project import slug
from cvflow.stages.report.data import data_blocks
from cvflow.stages.report.finished_run import Finished
from cvflow.stages.report.images import augmented, galleries
from cvflow.stages.report.lineage import lineage
from cvflow.stages.report.pictures import figure_block
from cvflow.stages.report.training import curves, time_split
from cvflow.stages.train.mlflow_run import log_pages

PLOTTED = ("Training", "Details")
"""Sections whose blocks are artifacts of their own, too."""


def report(run: Run) -> None:
    """Write ``runs/<name>/report.html``; it and its plots become artifacts of the MLflow run."""
    done = Finished(run)
    page_sections = sections(done)
    run.path("report.html").write_text(
        page(run.name, page_sections, run.recipe.description), encoding="utf-8"
    )
    log_pages(run, done.read("registered.json")["run_id"], plots(run.name, page_sections))


def plots(title: str, page_sections: Sequence[Section]) -> dict[str, str]:
    """Each figure as a page: its name -> HTML."""
    blocks = [block for section in page_sections if section.title in PLOTTED for block in section.blocks]
    named = {getattr(block, "title", "") or block.kind: block for block in blocks}
    return {slug(name): page(title, [Section(name, [block])]) for name, block in named.items()}


def sections(done: Finished) -> list[Section]:
    """The page's sections; those without anything to show are left out."""
    split, metrics = done.measured["split"], done.measured["metrics"]
    figures = {done.objective.metric: metrics[done.objective.metric], **metrics}
    described = done.read("evaluation/details.json").items()
    seen = (
        "Training images as the network saw them, epoch by "
        f"epoch{', mixed with others' if done.recipe.train.mix else ''}."
    )
    details = [figure_block(done, figure, name.replace("_", " ").capitalize()) for name, figure in described]
    page_sections = [
        Section(
            "Results",
            [Numbers({f"{split} {name.replace('_', ' ')}": value for name, value in figures.items()})],
        ),
        Section("Training", [*curves(done), *time_split(done)]),
        Section("Details", details, f"Measured on {split}."),
        Section(
            "Images",
            list(galleries(done)),
            f"How images of {split} were answered: the truth, then the answer.",
        ),
        Section("Augmentation", list(augmented(done)), seen),
        Section("Data", list(data_blocks(done))),
        Section("Lineage", list(lineage(done)), "What made this model, and how to find it again."),
    ]
    return [section for section in page_sections if section.blocks]
