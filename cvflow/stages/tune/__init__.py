"""tune: better settings for the prepared dataset, found by trials; resumed where it was broken off."""

from __future__ import annotations

from cvflow.stages.run import Run


def tune(run: Run) -> None:
    """Write ``runs/<name>/search``; the journal and what unfinished trials need live in ``.cvflow/tune/<key>``.

    Raises InterruptedRunError after Ctrl-C, CvflowError where every trial failed: what there is, is written before.
    """
    from cvflow.runtime.cluster import connect  # ray is imported only where it runs

    connect(run.recipe.compute, meanwhile=["cvflow.stages.tune.trials", "cvflow.runtime.ray_tune", "torchvision"])
    from cvflow.stages.tune.trials import search_trials

    search_trials(run)
