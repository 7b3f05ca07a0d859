"""The plugins by which Hydra finds the launchers and the sweeper of this project.

Every Hydra program in the Python environment imports this file. Therefore each class imports its launcher only when
a multirun uses it.
"""

from __future__ import annotations

from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper


class _Options:
    """Keeps the options that Hydra reads from conf/hydra; the launcher or sweeper checks them."""

    def __init__(self, **options: Any):
        self._options = options


class _JobLauncher(_Options, Launcher):
    """Passes jobs on to `launcher`, which a subclass makes in `setup`."""

    launcher: Any

    def launch(self, job_overrides: Any, initial_job_idx: int) -> Any:
        return self.launcher.launch(job_overrides, initial_job_idx)

    @property
    def several_machines(self) -> bool:
        return bool(self.launcher.several_machines)

    def stream(self, jobs: Any, total: int | None) -> Any:
        return self.launcher.stream(jobs, total)


class ProcessesLauncher(_JobLauncher):
    """`hydra/launcher=processes`; its options are in conf/hydra/launcher/processes.yaml."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        from launchers.jobs.processes import Processes

        self.launcher = Processes(hydra_context, config, self._options)


class RolesLauncher(_JobLauncher):
    """`hydra/launcher=roles`; its options are in conf/hydra/launcher/roles.yaml."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        from launchers.cells.cells import Cells

        self.launcher = Cells(hydra_context, config, self._options)


class RayLauncher(_JobLauncher):
    """`hydra/launcher=ray`; its options are in conf/hydra/launcher/ray.yaml."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        from launchers.ray_cluster.jobs import RayJobs

        self.launcher = RayJobs(hydra_context, config, self._options)


class PopulationLauncher(_JobLauncher):
    """`hydra/launcher=population`; its options are in conf/hydra/launcher/population.yaml."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        from launchers.cells.populations import Populations

        self.launcher = Populations(hydra_context, config, self._options)


class RayRolesLauncher(_JobLauncher):
    """`hydra/launcher=ray_roles`; its options are in conf/hydra/launcher/ray_roles.yaml."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        from launchers.ray_cluster.cells import RayCells

        self.launcher = RayCells(hydra_context, config, self._options)


class KubernetesLauncher(_Options, Launcher):
    """`hydra/launcher=kubernetes`; its options are in conf/hydra/launcher/kubernetes.yaml."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        from launchers.kubernetes_manifests.manifests import Manifests

        self._manifests = Manifests(hydra_context, config, self._options)

    def launch(self, job_overrides: Any, initial_job_idx: int) -> Any:
        return self._manifests.launch(job_overrides, initial_job_idx)


class OptunaSweeper(_Options, Sweeper):
    """`sweep=<name>`, or `hydra/sweeper=optuna`; its options are in conf/hydra/sweeper/optuna.yaml."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        from launchers.search.sweep import Sweep

        self._sweep = Sweep(hydra_context, task_function, config, self._options)

    def sweep(self, arguments: list[str]) -> float | None:
        return self._sweep.run(arguments)
