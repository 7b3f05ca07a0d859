"""Composes the config of each job from its overrides, in the parent process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from launchers.jobs.job import Job
from sac.config.command_line import as_texts, explicit_overrides
from sac.config.text_keys import with_texts
from sac.config.validation import check_value
from sac.track.wandb_run import MAX_NAME_CHARACTERS


@dataclass
class Composition:
    """Composes jobs of a multirun; `config` is the multirun's own, which Hydra has composed from the command line."""

    context: HydraContext
    config: DictConfig

    def __post_init__(self) -> None:
        """Raises UserError for a base.models or base.scene that no folder can have as its name."""
        base = with_texts(self.config).base
        for key in ("models", "scene"):
            if not OmegaConf.is_missing(base, key):
                check_value(f"base.{key}", base[key])

    def job(
        self, number: int, overrides: Sequence[str], folder: Path, shown: Sequence[str], group: str, **more: Any
    ) -> Job:
        """Composes a job from its overrides. Raises Hydra's errors.

        `folder` gets a folder for the job, named by its number. `shown` are the overrides that tell the job from the
        others. `group` is its group in Weights & Biases, unless the config names one. `more` are further fields of Job.
        """
        setup_globals()
        texts = as_texts(overrides)
        composed = self.context.config_loader.load_sweep_config(self.config, [texts[o] for o in overrides])
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = number
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(composed)  # for ${hydra:...} in the config
        try:
            task = OmegaConf.create({key: value for key, value in composed.items_ex(resolve=False) if key != "hydra"})
            plain = OmegaConf.create(OmegaConf.to_container(task, resolve=True, throw_on_missing=False))
            assert isinstance(plain, DictConfig)
            typed = explicit_overrides(composed.hydra)
            env = {name: str(value) for name, value in composed.hydra.job.env_set.items()}
        finally:
            HydraConfig.instance().cfg = before
        if plain["track"]["wandb_group"] is None:
            plain["track"]["wandb_group"] = group[-MAX_NAME_CHARACTERS:] or None
        return Job(number, folder / str(number), with_texts(plain), list(shown), typed, env=env, **more)


def varying(batch: Sequence[Sequence[str]]) -> list[list[str]]:
    """For each job the overrides that not all jobs share; for a single job all of its overrides."""
    if len(batch) < 2:
        return [list(overrides) for overrides in batch]
    shared = set(batch[0]).intersection(*batch[1:])
    return [[o for o in overrides if o not in shared] for overrides in batch]
