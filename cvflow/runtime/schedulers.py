"""Which trials of a search end early: Ray Tune's schedulers as recipe components.

Ray is imported when one is built.

Given by cvflow: the greatest number of epochs that a trial may do, and a name -> dimension mapping
of what is searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from cvflow.registry import register
from cvflow.space import Dimension

EPOCH, SCORE = "epoch", "score"
"""What a trial reports after each epoch; a higher score is better.

With the journal's SOURCE, the trial whose weights it took.
"""
Positive = Annotated[int, Field(gt=0)]


@register("scheduler", "none")
def none(epochs: int, space: Mapping[str, Dimension]) -> Any:
    """Every trial runs to its end."""
    from ray.tune.schedulers import FIFOScheduler

    return FIFOScheduler()  # type: ignore[no-untyped-call]


@register("scheduler", "asha")
def asha(
    epochs: int,
    space: Mapping[str, Dimension],
    *,
    grace: Positive = 1,
    reduction: Annotated[float, Field(gt=1)] = 3.0,
) -> Any:
    """Asynchronous successive halving (Li et al., 2018, arXiv:1810.05934): of those at a rung,
    1/reduction go on.

    grace: epochs before the first rung; the next are ``reduction`` times as far each.
    """
    from ray.tune.schedulers import AsyncHyperBandScheduler

    limits: dict[str, Any] = {
        "max_t": max(epochs, grace),
        "grace_period": grace,
        "reduction_factor": reduction,
    }
    return AsyncHyperBandScheduler(
        time_attr=EPOCH, metric=SCORE, mode="max", stop_last_trials=False, **limits
    )


@register("scheduler", "median")
def median(epochs: int, space: Mapping[str, Dimension], *, grace: Positive = 3, least: Positive = 3) -> Any:
    """A trial ends whose best is below the median of the others' averages (Golovin et al., 2017, KDD).

    grace: epochs before. least: other trials that have come as far.
    """
    from ray.tune.schedulers import MedianStoppingRule

    never: Any = float("inf")  # pausing would begin the trial anew
    return MedianStoppingRule(
        time_attr=EPOCH,
        metric=SCORE,
        mode="max",
        grace_period=grace,
        min_samples_required=least,
        min_time_slice=never,
    )


@register("scheduler", "pbt")
def pbt(
    epochs: int,
    space: Mapping[str, Dimension],
    *,
    every: Positive = 1,
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25,
    resample: Annotated[float, Field(ge=0, le=1)] = 0.25,
) -> Any:
    """Population-based training (Jaderberg et al., 2017, arXiv:1711.09846): the worst take the
    weights of the best, and new params.

    every: epochs between two exchanges. quantile: the share that is worst, and best. resample:
    probability of a new value in place of 0.8 or 1.2 times the old one (of choices: the next).
    """
    import random

    from cvflow.runtime.population import SeededPopulation

    def within(config: dict[str, Any]) -> dict[str, Any]:
        params = {key: space[key].clip(value) for key, value in config["params"].items()}
        return {**config, "params": params}

    mutations = {
        key: list(dimension.values)
        if dimension.kind == "choice"
        else (lambda dimension=dimension: dimension.at(random.random()))
        for key, dimension in space.items()
    }
    return SeededPopulation(
        time_attr=EPOCH,
        metric=SCORE,
        mode="max",
        perturbation_interval=every,
        quantile_fraction=quantile,
        resample_probability=resample,
        hyperparam_mutations={"params": mutations},
        custom_explore_fn=within,
        require_attrs=False,  # how a trial ended carries no score
        log_config=False,
    )
