"""One call of the sweeper: runs a search whose trials are jobs of the chosen launcher, and writes its results."""

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
from launchers.search.opening import usual_storage
from launchers.search.options import SearchOptions
from launchers.search.search import Search
from sac.config.overrides import same_command
from sac.config.validation import checked
from sac.errors import UserError


class Sweep:
    """The sweep of one command. Raises UserError for invalid options."""

    def __init__(self, context: HydraContext, task: TaskFunction, config: DictConfig, options: dict[str, Any]):
        setup_globals()
        self._composition = Composition(context, config)
        launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=task, config=config
        )
        if not hasattr(launcher, "stream"):
            raise UserError("a sweep runs its trials in processes of their own: leave out hydra/launcher=...")
        self._pool = launcher.stream
        chosen = checked(SearchOptions, options, "hydra.sweeper.")
        sweep = config.hydra.runtime.choices.get("sweep") or "search"
        chosen.study_name = chosen.study_name or sweep.replace("/", "-")
        chosen.folder = chosen.folder or str(
            Path(config.base.models) / config.base.scene / "sweeps" / chosen.study_name
        )
        if chosen.storage is None:
            chosen.storage = usual_storage(Path(chosen.folder), launcher.several_machines)
        self._options = chosen

    def run(self, arguments: list[str]) -> float | None:
        """Searches until the study has n_trials trials; returns the best value of a single objective.

        Raises UserError when all trials have failed.
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
        single = len(self._options.goals) == 1
        return search.study.best_value if single and any(t.state == TrialState.COMPLETE for t in trials) else None
