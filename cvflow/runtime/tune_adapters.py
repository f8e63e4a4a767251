"""What Ray Tune asks while trials run, answered by the conductor: searcher, scheduler, callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import SearchAlgorithm, Searcher, SearchGenerator

from cvflow.engine.search.conductor import Conductor
from cvflow.engine.search.journal import SOURCE
from cvflow.errors import RequestError
from cvflow.runtime.schedulers import EPOCH, SCORE
from cvflow.runtime.trial import STOP, own_folder


@dataclass(frozen=True)
class Before:
    """A trial of an earlier session, as far as a scheduler looks at it."""

    trial_id: str


class HereOnly:
    """Tune pickles its set-up to restore it from: here the journal is that, so nothing of this is kept."""

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()


class Asker(HereOnly, Searcher):
    """Tune's searcher: asks the conductor."""

    def __init__(self, conductor: Conductor, recipe_of: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        super().__init__(metric=SCORE, mode="max")
        self.conductor, self.numbers, self._recipe_of = conductor, dict[str, int](), recipe_of

    def suggest(self, trial_id: str) -> Any:
        while not self.conductor.finished:
            trial = self.conductor.ask()
            if trial is None:
                return Searcher.FINISHED if self.conductor.finished else None
            try:
                self._recipe_of(trial.params)
            except RequestError as error:
                self.conductor.end(trial.number, "failed", str(error))
                continue
            self.numbers[trial_id] = trial.number
            own_folder(self.conductor.folder, trial_id, trial.number)
            return {"params": trial.params}
        return Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if error or result is None:
            return  # Lost takes it down, which knows why
        end = result.get("end", "done")
        if end != "interrupted":
            self.conductor.end(self.numbers[trial_id], end, result.get("reason", ""))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""


class Population(HereOnly, SearchAlgorithm):
    """The same for population-based training, which Tune lets nothing ask that it knows for a
    searcher, and draws for itself.
    """

    def __init__(self, asker: Asker) -> None:
        self._inner = SearchGenerator(asker)
        self._inner.set_search_properties(SCORE, "max", {})

    def add_configurations(self, experiments: Any) -> None:
        self._inner.add_configurations(experiments)

    def next_trial(self) -> Any:
        return self._inner.next_trial()  # type: ignore[no-untyped-call]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self._inner.on_trial_complete(trial_id, result, error)

    def is_finished(self) -> bool:
        return bool(self._inner.is_finished())

    def save_to_dir(self, dirpath: str, **kwargs: Any) -> None:
        """Nothing: the journal is the state."""


class Listener(HereOnly, tune.Callback):
    """Tells the conductor of epochs, of params that population-based training changed, and of
    trials whose process died.
    """

    def __init__(self, asker: Asker, sign: float) -> None:
        self._asker, self._sign = asker, sign

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if EPOCH not in result:
            return
        number = self._asker.numbers[trial.trial_id]
        trial_now, params, source = (
            self._asker.conductor.trials[number],
            result["config"]["params"],
            result.get(SOURCE),
        )
        if params != trial_now.params or source not in (None, trial_now.source):
            self._asker.conductor.journal.changed(number, params, source)
        self._asker.conductor.saw(number, result[EPOCH], self._sign * result[SCORE])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._asker.conductor.end(self._asker.numbers[trial.trial_id], "failed", _why(trial))


class Gentle(HereOnly, TrialScheduler):
    """Another scheduler whose "stop" is a request to the trial, which ends by itself: nothing is
    torn down under it.

    What trials of an earlier session reported is told to the scheduler first.
    """

    def __init__(self, inner: TrialScheduler, asker: Asker, sign: float) -> None:
        self._inner, self._asker = inner, asker
        for trial in asker.conductor.trials:
            self._tell(trial.number, sign, trial.ended)

    def _tell(self, number: int, sign: float, ended: bool) -> None:
        """Repeat a trial's epochs to the scheduler, as a trial of this session would report them."""
        conductor = self._asker.conductor
        stand_in: Any = Before(f"before{number}")
        nobody: Any = None
        results = [
            {EPOCH: epoch, SCORE: sign * metrics[conductor.score_name]}
            for epoch, metrics in conductor.scores(number).items()
        ]
        if not (results and ended):
            return
        self._inner.on_trial_add(nobody, stand_in)
        for result in results:
            self._inner.on_trial_result(nobody, stand_in, result)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._inner.on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._inner.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if EPOCH not in result or "end" in result:
            return str(self.CONTINUE)
        stop_file = self._asker.conductor.trial_folder(self._asker.numbers[trial.trial_id]) / STOP
        # it does not wait for the answer; the scheduler takes it for ended
        if stop_file.exists():
            return str(self.CONTINUE)
        decision = self._inner.on_trial_result(tune_controller, trial, result)
        if decision != self.STOP:
            return str(decision)
        stop_file.touch()
        return str(self.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The scheduler has heard all epochs; the last result is one of them again."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        return self._inner.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        return str(self._inner.debug_string())


def _why(trial: Any) -> str:
    """The reason of a trial whose process could not say it itself: killed, or out of memory.

    Tune has just written it down.
    """
    pickled, text = (Path(file) if file else None for file in (trial.pickled_error_file, trial.error_file))
    error = cloudpickle.loads(pickled.read_bytes()) if pickled and pickled.exists() else None
    if isinstance(error, ray.exceptions.RayActorError):
        return "its process died (killed, or out of memory)"
    lines = text.read_text().strip().splitlines() if text and text.exists() else []
    return lines[-1] if lines else "its process failed, and left no word"
