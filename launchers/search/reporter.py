"""Reports a job's evaluations to the study, and ends the run when the study's pruner stops the trial."""

from __future__ import annotations

import logging
import os
import statistics
from pathlib import Path
from typing import Any

from launchers.jobs.status_file import StatusFile
from launchers.search.study import StudySpec
from sac.config.schema import Config

log = logging.getLogger(__name__)
ERROR, GIVEN_UP = "error", "given_up"  # user attributes of a trial: why a seed failed; at which step it was pruned
STORAGE = "SAC_STORAGE"  # environment variable: the storage of the study, which may hold a password


class Reporter(StatusFile):
    """The observer of a trial's run. `trial` holds the study (see StudySpec), the trial's id, and this job's seed.

    With several seeds the last one that comes to an evaluation reports the median of all. If the pruner then stops the
    trial, the other seeds end at their next evaluation.
    """

    def __init__(self, folder: Path, trial: dict[str, Any]):
        super().__init__(folder)
        spec = StudySpec(**{**trial["study"], "storage": os.environ[STORAGE]})
        self._spec, self._study, self._id = spec, spec.open(), trial["id"]
        self._seed, self._seeds, self._reports = trial["seed"], trial["seeds"], trial["reports"]
        self._per_step = 1

    def began(self, folder: Path, config: Config) -> None:
        super().began(folder, config)
        self._per_step = max(config.eval.per_step, 1)

    def promising(self, step: int, score: float) -> bool:
        """Whether the run should go on. When the storage fails, it goes on without a report."""
        step -= step % self._per_step  # steps at which trials can be compared
        try:
            return self._ask(step, score)
        except Exception as error:
            log.warning("the study could not be asked at step %d: %s", step, self._spec.first_line(error))
            return True

    def _ask(self, step: int, score: float) -> bool:
        storage = self._study._storage
        frozen = storage.get_trial(self._id)
        if not frozen.state.is_finished() and self._name(self._seed, step) not in frozen.user_attrs:
            storage.set_trial_user_attr(self._id, self._name(self._seed, step), score)
            frozen = storage.get_trial(self._id)
        if frozen.state.is_finished() or {ERROR, GIVEN_UP} & set(frozen.user_attrs):
            return False
        if not self._reports:
            return True
        names = [self._name(seed, step) for seed in range(self._seeds)]
        scores = [frozen.user_attrs[name] for name in names if name in frozen.user_attrs]
        if len(scores) < self._seeds:  # the last seed will report
            return True
        if step not in frozen.intermediate_values:
            storage.set_trial_intermediate_value(self._id, step, statistics.median(scores))
        if not self._study.pruner.prune(self._study, storage.get_trial(self._id)):
            return True
        storage.set_trial_user_attr(self._id, GIVEN_UP, step)
        return False

    def _name(self, seed: int, step: int) -> str:
        return f"eval/return seed {seed} step {step}"
