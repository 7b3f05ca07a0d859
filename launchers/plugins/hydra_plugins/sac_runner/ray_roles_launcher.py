"""Hydra's door to launchers.ray_cells. Every Hydra program of the environment imports this file: it stays light."""

from __future__ import annotations

from typing import Any

from hydra.plugins.launcher import Launcher


class RayRolesLauncher(Launcher):
    """`hydra/launcher=ray_roles`; the options stand in conf/hydra/launcher/ray_roles.yaml."""

    def __init__(self, **options: Any):
        self._options = options

    def setup(self, *, hydra_context, task_function, config) -> None:
        from launchers.ray_cells import RayCells

        self.cells = RayCells(hydra_context, config, self._options)

    def launch(self, job_overrides, initial_job_idx):
        return self.cells.launch(job_overrides, initial_job_idx)

    def stream(self, jobs, total):
        return self.cells.stream(jobs, total)
