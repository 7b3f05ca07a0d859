"""From a job's overrides to the config that its process gets, composed once, here."""

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
    """`config` is the multirun's own, as Hydra composed it from what was typed."""

    context: HydraContext
    config: DictConfig

    def __post_init__(self):
        """Before anybody makes a folder of it. Raises UserError for names that no folder can have."""
        base = with_texts(self.config).base
        for key in ("models", "scene"):
            if not OmegaConf.is_missing(base, key):
                check_value(f"base.{key}", base[key])

    def job(
        self, number: int, overrides: Sequence[str], folder: Path, shown: Sequence[str], group: str, **more: Any
    ) -> Job:
        """A job from its overrides, of which `shown` are those that tell it from others. Raises Hydra's errors.

        `group` is what trackers file it under, unless the config names a group.
        """
        setup_globals()
        texts = as_texts(overrides)
        composed = self.context.config_loader.load_sweep_config(self.config, [texts[o] for o in overrides])
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = number
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(composed)  # ${hydra:...} in the config
        try:
            task = {key: value for key, value in composed.items_ex(resolve=False) if key != "hydra"}
            task = OmegaConf.to_container(OmegaConf.create(task), resolve=True, throw_on_missing=False)
            plain = OmegaConf.create(task)
            typed = explicit_overrides(composed.hydra)
            env = {name: str(value) for name, value in composed.hydra.job.env_set.items()}
        finally:
            HydraConfig.instance().cfg = before
        if plain["track"]["wandb_group"] is None:
            plain["track"]["wandb_group"] = group[-MAX_NAME_CHARACTERS:] or None
        return Job(number, folder / str(number), with_texts(plain), list(shown), typed, env=env, **more)


def varying(batch: Sequence[Sequence[str]]) -> list[list[str]]:
    """Of each job's overrides those that not all jobs have; a job on its own shows them all."""
    if len(batch) < 2:
        return [list(overrides) for overrides in batch]
    shared = set(batch[0]).intersection(*batch[1:])
    return [[o for o in overrides if o not in shared] for overrides in batch]
