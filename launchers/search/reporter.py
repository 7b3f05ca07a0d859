"""A trial's job tells the study what each evaluation gave, and ends when the study's pruner gives it up."""

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
ERROR, GIVEN_UP = "error", "given_up"  # user attributes of a trial: a seed failed; the pruner has spoken
STORAGE = "SAC_STORAGE"  # environment variable: where the study is


class Reporter(StatusFile):
    """`told` holds the study (see StudySpec), the trial's id, this job's seed number of how many.

    With several seeds the median is reported, by the last seed that comes to an evaluation; the others hear of a
    verdict at their next one.
    """

    def __init__(self, folder: Path, told: dict[str, Any]):
        super().__init__(folder)
        spec = StudySpec(**{**told["study"], "storage": os.environ[STORAGE]})
        self._spec, self._study, self._id = spec, spec.open(), told["id"]
        self._seed, self._seeds, self._reports = told["seed"], told["seeds"], told["reports"]
        self._per_step = 1

    def began(self, folder: Path, config: Config) -> None:
        super().began(folder, config)
        self._per_step = max(config.eval.per_step, 1)

    def promising(self, step: int, score: float) -> bool:
        """Whether to go on. A storage that fails costs the report, not the run."""
        step -= step % self._per_step  # what other trials can be compared at
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
        scores = [frozen.user_attrs.get(self._name(seed, step)) for seed in range(self._seeds)]
        if None in scores:
            return True
        if step not in frozen.intermediate_values:
            storage.set_trial_intermediate_value(self._id, step, statistics.median(scores))
        if not self._study.pruner.prune(self._study, storage.get_trial(self._id)):
            return True
        storage.set_trial_user_attr(self._id, GIVEN_UP, step)
        return False

    def _name(self, seed: int, step: int) -> str:
        return f"eval/return seed {seed} step {step}"
