"""``tpe`` and ``cmaes``: Optuna's samplers, asked and told in the order of the trials.

Before a sampler is asked for a trial it is told all results that are visible by then, so that its
state is the same whenever it is built again from the trials. Ray Tune's OptunaSearch tells results as
they come, and its state is a pickle, so a search could not be resumed exactly.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from cvflow.engine.search.space import Space
from cvflow.engine.search.trials import Algorithm, Params, Tried
from cvflow.errors import Fault, RequestError
from cvflow.registry import register
from cvflow.space import Dimension


class Optuna:
    """An Optuna study that is asked for one trial after the other.

    make_sampler: makes the study's sampler. first: trials in the first generation. Choices are passed
    by index, since Optuna's must be plain values.
    """

    uses_results = True
    size = None

    def __init__(self, space: Space, make_sampler: Callable[[], Any], first: int) -> None:
        self._space = space
        self._make_sampler = make_sampler
        self._first = first
        self._restart()

    def _restart(self) -> None:
        """Begin a new study."""
        import optuna

        optuna.logging.set_verbosity(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(direction="maximize", sampler=self._make_sampler())
        self._trials: list[Any] = []
        self._num_told = 0

    def suggest(self, tried: Sequence[Tried]) -> tuple[Params, dict[str, Any]]:
        if len(tried) < len(self._trials):
            self._restart()
        hidden = sum(not trial.visible for trial in tried)
        # after a resume everything that was asked before is asked again
        while len(self._trials) < len(tried):
            self._ask(tried, len(self._trials) - hidden)
        params = self._ask(tried, len(tried) - hidden)
        return params, {"generation": len(tried) // self._first}

    def _ask(self, tried: Sequence[Tried], num_visible: int) -> Params:
        """Tell the study the results of the first ``num_visible`` trials, then ask for one more."""
        while self._num_told < num_visible:
            self._tell(self._trials[self._num_told], tried[self._num_told].score)
            self._num_told += 1
        trial = self._study.ask()
        self._trials.append(trial)
        params: Params = {}
        for key, dimension in self._space:
            if self._space.active(dimension, params):
                params[key] = _ask_for(trial, key, dimension)
        return params

    def _tell(self, trial: Any, score: float | None) -> None:
        import optuna

        if score is None:
            self._study.tell(trial, None, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, score)


def _ask_for(trial: Any, key: str, dimension: Dimension) -> Any:
    """Ask an Optuna trial for the value of a dimension."""
    if dimension.kind == "choice":
        indices = list(range(len(dimension.values)))
        return dimension.values[trial.suggest_categorical(key, indices)]
    ask = trial.suggest_int if dimension.whole else trial.suggest_float
    return ask(key, *dimension.values, log=dimension.log)


@register("searcher", "tpe")
def tpe(space: Space, seed: int, *, startup: Annotated[int, Field(gt=0)] = 10) -> Algorithm:
    """Tree-structured Parzen estimator (Bergstra et al., 2011, NeurIPS 24).

    startup: random trials before it begins.
    """

    def make_sampler() -> Any:
        import optuna

        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)

    return Optuna(space, make_sampler, startup)


@register("searcher", "cmaes")
def cmaes(space: Space, seed: int, *, population: Annotated[int, Field(ge=2)] = 8) -> Algorithm:
    """Covariance matrix adaptation (Hansen and Ostermeier, 2001, Evol. Comput. 9(2)), for numbers alone.

    population: trials a generation.
    """
    faults = []
    for key, dimension in space:
        if dimension.kind == "choice" or dimension.when:
            expected = "a number that always exists, for cmaes"
            fix = "Type search.algorithm=evolution or tpe, or leave the key out."
            faults.append(Fault(f"search.space.{key}", "a choice or a condition", expected, fix))
    if faults:
        raise RequestError(*faults)

    def make_sampler() -> Any:
        import optuna

        return optuna.samplers.CmaEsSampler(seed=seed, popsize=population, n_startup_trials=population)

    return Optuna(space, make_sampler, population)
