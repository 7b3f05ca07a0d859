"""Hydra's way to our launchers and our sweeper. Every Hydra program of the environment imports this file.

So each class imports what it starts only when a multirun asks for it.
"""

from __future__ import annotations

from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper


class _Options:
    """Keeps the options that Hydra reads from conf/hydra; what is started checks them."""

    def __init__(self, **options: Any):
        self._options = options


class _JobLauncher(_Options, Launcher):
    """Hands jobs to `started`, which a subclass makes in `setup`."""

    started: Any

    def launch(self, job_overrides, initial_job_idx):
        return self.started.launch(job_overrides, initial_job_idx)

    def stream(self, jobs, total):
        return self.started.stream(jobs, total)


class ProcessesLauncher(_JobLauncher):
    """`hydra/launcher=processes`; its options stand in conf/hydra/launcher/processes.yaml."""

    def setup(self, *, hydra_context, task_function, config) -> None:
        from launchers.jobs.processes import Processes

        self.started = Processes(hydra_context, config, self._options)


class RolesLauncher(_JobLauncher):
    """`hydra/launcher=roles`; its options stand in conf/hydra/launcher/roles.yaml."""

    def setup(self, *, hydra_context, task_function, config) -> None:
        from launchers.cells.cells import Cells

        self.started = Cells(hydra_context, config, self._options)


class RayRolesLauncher(_JobLauncher):
    """`hydra/launcher=ray_roles`; its options stand in conf/hydra/launcher/ray_roles.yaml."""

    def setup(self, *, hydra_context, task_function, config) -> None:
        from launchers.ray_cluster.cells import RayCells

        self.started = RayCells(hydra_context, config, self._options)


class KubernetesLauncher(_Options, Launcher):
    """`hydra/launcher=kubernetes`; its options stand in conf/hydra/launcher/kubernetes.yaml."""

    def setup(self, *, hydra_context, task_function, config) -> None:
        from launchers.kubernetes_manifests.manifests import Manifests

        self._manifests = Manifests(hydra_context, config, self._options)

    def launch(self, job_overrides, initial_job_idx):
        return self._manifests.launch(job_overrides, initial_job_idx)


class OptunaSweeper(_Options, Sweeper):
    """`sweep=<name>`, or `hydra/sweeper=optuna`; its options stand in conf/hydra/sweeper/optuna.yaml."""

    def setup(self, *, hydra_context, task_function, config) -> None:
        from launchers.search.sweep import Sweep

        self._sweep = Sweep(hydra_context, task_function, config, self._options)

    def sweep(self, arguments: list[str]) -> float | None:
        return self._sweep.run(arguments)
