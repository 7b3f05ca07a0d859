"""The launcher `kubernetes`: writes every job of a multirun as the manifests of a cell, and runs nothing."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig

from launchers.jobs.compose import Composition, varying
from launchers.jobs.job import Job
from launchers.kubernetes_manifests.options import KubernetesOptions
from launchers.kubernetes_manifests.role_arguments import kept
from launchers.kubernetes_manifests.workloads import cell_name, objects_of
from sac.config.run_names import name_in_multirun
from sac.config.validation import checked, validated
from sac.errors import UserError
from sac.files import write_atomically

FIRST_UNPRIVILEGED_PORT = 1024


class _PlainDumper(yaml.SafeDumper):
    """Writes repeated objects in full instead of as aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class Manifests:
    """Writes manifests by the options of conf/hydra/launcher/kubernetes.yaml. Raises UserError for invalid options."""

    def __init__(self, context: HydraContext, config: DictConfig, options: Mapping[str, Any]):
        self._config, self.options = config, checked(KubernetesOptions, options, "hydra.launcher.")
        self.composition = Composition(context, config)
        if not config.hydra.sweeper._target_.endswith("BasicSweeper"):
            raise UserError(
                "hydra/launcher=kubernetes only prints manifests: no trial runs, so there is nothing that a sweep "
                "could optimise; leave out sweep=..., or hydra/launcher=..."
            )
        if any("command-line" in source.provider for source in config.hydra.runtime.config_sources):
            raise UserError("--config-dir: the containers know the conf/ of their image only; put your files there")

    def launch(self, batch: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Prints all manifests, writes a file for each cell, and says how to apply them. Raises UserError."""
        folder, shown = Path(self._config.hydra.sweep.dir), varying(batch)
        jobs = [
            self.composition.job(first + i, overrides, folder, shown[i], folder.name)
            for i, overrides in enumerate(batch)
        ]
        cells = dict(self._cell(job, kept(overrides)) for job, overrides in zip(jobs, batch))
        where = folder / "manifests"
        where.mkdir(parents=True, exist_ok=True)
        for name, text in cells.items():
            write_atomically(where / f"{name}.yaml", text)
            print(text, end="", flush=True)
        sys.stderr.write(self._what_to_do(where, list(cells)))
        return [JobReturn(job.overrides, job.config, status=JobStatus.COMPLETED, _return_value=None) for job in jobs]

    def _cell(self, job: Job, typed: list[str]) -> tuple[str, str]:
        """The name and the manifests of a job's cell."""
        config = job.config
        if job.env:
            raise UserError(
                f"hydra.job.env_set.{next(iter(job.env))}: put it into a Secret instead, and its name into "
                "hydra.launcher.env_secret"
            )
        config.role, config.ckpt, config.base.name = "learner", "auto", name_in_multirun(config, job.number)
        _check(config, self.options.actors)
        name = cell_name(config)
        head = f"# {name}: the run {config.base.scene}/{config.base.name} ({' '.join(job.overrides) or 'no overrides'})"
        objects = objects_of(name, config, typed, self.options)
        return (
            name,
            f"{head}\n{yaml.dump_all(objects, Dumper=_PlainDumper, sort_keys=False, width=120, explicit_start=True)}",
        )

    def _what_to_do(self, where: Path, names: list[str]) -> str:
        kubectl = f"kubectl -n {self.options.namespace}" if self.options.namespace else "kubectl"
        folder, secret = shlex.quote(str(where)), self.options.secret
        return (
            f"\nnothing was started; manifests of {len(names)} cell{'s' * (len(names) > 1)} in {where}: one file each\n"
            f"keys:    python -m sac.wire.keys keys && {kubectl} create secret generic {secret} --from-file=keys\n"
            f"         (once in each namespace, before the first cell; keep `keys` or remove it)\n"
            f"apply:   {kubectl} apply -f {folder}\n"
            f"watch:   {kubectl} logs -f {names[0]}-learner-0\n"
            f"remove:  {kubectl} delete -f {folder}   (the volumes with models and replay stay)\n"
        )


def _check(config: DictConfig, actors: int) -> None:
    """Raises UserError for a config with which the containers would fail."""
    validated(config)
    if actors > config.base.max_actors_each_learner:
        raise UserError(
            f"hydra.launcher.actors={actors} exceeds base.max_actors_each_learner={config.base.max_actors_each_learner}"
        )
    for role in ("replay", "learner"):
        if config.net[f"{role}_port"] < FIRST_UNPRIVILEGED_PORT:
            raise UserError(
                f"net.{role}_port={config.net[f'{role}_port']}: on Kubernetes it is a fixed one of at least 1024"
            )
