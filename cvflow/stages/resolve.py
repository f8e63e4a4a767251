"""resolve: the whole checked recipe, overrides applied and defaults filled in."""

from __future__ import annotations

import yaml

from cvflow.project.graph import Run, find_entry
from cvflow.project.resolved import answer_file, check_source, load_entry


def resolve(run: Run) -> None:
    """Write ``runs/<name>/recipe.yaml``.

    Where nothing it reads has changed, the last answer is written again, in no time.
    """
    entry = find_entry(run.name)
    answer = answer_file(load_entry(entry)).read_text()
    check_source(run.name, entry, yaml.safe_load(answer))
    run.root.mkdir(parents=True, exist_ok=True)
    run.path("recipe.yaml").write_text(answer)
