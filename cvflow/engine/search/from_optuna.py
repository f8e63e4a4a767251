"""``tpe`` and ``cmaes``: Optuna's samplers, asked and told in the order of the trials.

Asking for a trial tells the sampler first what is known by then, so that its state is the same whenever it is built again
from the trials. Ray Tune's OptunaSearch tells results as they come, and its state is a pickle: neither would hold.
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
    """A study that is asked trial by trial. Choices are handed over by index, since Optuna's must be plain values."""

    uses_results = True
    size = None

    def __init__(self, space: Space, make: Callable[[], Any], first: int) -> None:
        self._space, self._make, self._first = space, make, first
        self._restart()

    def _restart(self) -> None:
        import optuna

        optuna.logging.set_verbosity(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(direction="maximize", sampler=self._make())
        self._trials: list[Any] = []
        self._told = 0

    def suggest(self, tried: Sequence[Tried]) -> tuple[Params, dict[str, Any]]:
        if len(tried) < len(self._trials):
            self._restart()
        behind = len(tried) - sum(trial.known for trial in tried)
        while len(self._trials) < len(tried):  # after a resume: all that was asked is asked again
            self._ask(tried, len(self._trials) - behind)
        return self._ask(tried, len(tried) - behind), {"generation": len(tried) // self._first}

    def _ask(self, tried: Sequence[Tried], known: int) -> Params:
        """Tell what is known of the first so many trials, then ask for one more."""
        while self._told < known:
            self._tell(self._trials[self._told], tried[self._told].score)
            self._told += 1
        trial = self._study.ask()
        self._trials.append(trial)
        params: Params = {}
        for key, dimension in self._space:
            if self._space.active(dimension, params):
                params[key] = _ask_for(trial, key, dimension)
        return params

    def _tell(self, trial: Any, score: float | None) -> None:
        import optuna

        failed = optuna.trial.TrialState.FAIL
        self._study.tell(trial, score, state=None if score is not None else failed)


def _ask_for(trial: Any, key: str, dimension: Dimension) -> Any:
    if dimension.kind == "choice":
        return dimension.values[trial.suggest_categorical(key, list(range(len(dimension.values))))]
    ask = trial.suggest_int if dimension.whole else trial.suggest_float
    return ask(key, *dimension.values, log=dimension.log)


@register("searcher", "tpe")
def tpe(space: Space, seed: int, *, startup: Annotated[int, Field(gt=0)] = 10) -> Algorithm:
    """Tree-structured Parzen estimator (Bergstra et al., 2011, NeurIPS 24). startup: trials at random before it."""

    def make() -> Any:
        import optuna

        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)

    return Optuna(space, make, startup)


@register("searcher", "cmaes")
def cmaes(space: Space, seed: int, *, population: Annotated[int, Field(ge=2)] = 8) -> Algorithm:
    """Covariance matrix adaptation (Hansen and Ostermeier, 2001, Evol. Comput. 9(2)), for numbers alone.

    population: trials a generation.
    """
    wrong = [key for key, dimension in space if dimension.kind == "choice" or dimension.when]
    if wrong:
        fix = "Type search.algorithm=evolution or tpe, or leave the key out."
        expected = "a number that always exists, for cmaes"
        raise RequestError(
            *(Fault(f"search.space.{key}", "a choice or a condition", expected, fix) for key in wrong)
        )

    def make() -> Any:
        import optuna

        return optuna.samplers.CmaEsSampler(seed=seed, popsize=population, n_startup_trials=population)

    return Optuna(space, make, population)
