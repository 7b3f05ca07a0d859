"""Hydra's door to launchers.processes. Every Hydra program of the environment imports this file: it stays light."""

from __future__ import annotations

from typing import Any

from hydra.plugins.launcher import Launcher


class ProcessesLauncher(Launcher):
    """`hydra/launcher=processes`; the options stand in conf/hydra/launcher/processes.yaml."""

    def __init__(self, **options: Any):
        self._options = options

    def setup(self, *, hydra_context, task_function, config) -> None:
        from launchers.processes import Processes

        self.processes = Processes(hydra_context, config, self._options)

    def launch(self, job_overrides, initial_job_idx):
        return self.processes.launch(job_overrides, initial_job_idx)

    def stream(self, jobs, total):
        return self.processes.stream(jobs, total)
