"""One call of a sweep: a search over jobs of the chosen launcher, and what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from optuna.trial import TrialState

from launchers.jobs.compose import Composition
from launchers.search import results
from launchers.search.options import SearchOptions
from launchers.search.search import Search
from sac.config.overrides import same_command
from sac.config.validation import checked
from sac.errors import UserError


class Sweep:
    """Raises UserError for options that make no sense together."""

    def __init__(self, context: HydraContext, task: TaskFunction, config: DictConfig, options: dict[str, Any]):
        setup_globals()
        self._composition = Composition(context, config)
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
        self._pool = getattr(launcher, "stream", None)
        if self._pool is None:
            raise UserError("a sweep runs its trials in processes of their own: leave out hydra/launcher=...")
        chosen = checked(SearchOptions, options, "hydra.sweeper.")
        sweep = config.hydra.runtime.choices.get("sweep") or "search"
        chosen.study_name = chosen.study_name or sweep.replace("/", "-")
        chosen.folder = chosen.folder or str(
            Path(config.base.models) / config.base.scene / "sweeps" / chosen.study_name
        )
        self._options = chosen

    def run(self, arguments: list[str]) -> float | None:
        """Searches until there are as many trials as asked for; returns the best value of a single objective.

        Raises UserError when not one trial has succeeded.
        """
        search = Search(self._composition, self._options, arguments)
        with search.spec.in_words():
            try:
                search.run(self._pool)
            except SystemExit:
                print(f"the search goes on with: {same_command()}", flush=True)
                raise
            print(results.write(search), flush=True)
            trials = search.study.get_trials(deepcopy=False)
        if all(trial.state == TrialState.FAIL for trial in trials):
            raise UserError(f"all {len(trials)} trials failed, see {search.folder / 'jobs'}/*/job.log")
        single = len(self._options.objectives) == 1
        return search.study.best_value if single and any(t.state == TrialState.COMPLETE for t in trials) else None
