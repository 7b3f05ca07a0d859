"""Hydra's door to launchers.manifests. Every Hydra program of the environment imports this file: it stays light."""

from __future__ import annotations

from typing import Any

from hydra.plugins.launcher import Launcher


class KubernetesLauncher(Launcher):
    """`hydra/launcher=kubernetes`; the options stand in conf/hydra/launcher/kubernetes.yaml."""

    def __init__(self, **options: Any):
        self._options = options

    def setup(self, *, hydra_context, task_function, config) -> None:
        from launchers.manifests import Manifests

        self.manifests = Manifests(hydra_context, config, self._options)

    def launch(self, job_overrides, initial_job_idx):
        return self.manifests.launch(job_overrides, initial_job_idx)
