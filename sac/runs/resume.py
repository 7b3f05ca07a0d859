"""Which config a command uses: the composed one, or that of the run that it resumes or plays, with what was typed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sac.config.command_line import CONF, host_number
from sac.config.run_names import name_in_multirun
from sac.config.schema import CELL, LEARNING_ROLES, all_keys, field_of
from sac.config.text_keys import with_texts
from sac.config.validation import check_value
from sac.errors import UserError
from sac.runs.checkpoint import Checkpoints
from sac.runs.config_file import Unreadable
from sac.runs.folder import RunFolder

log = logging.getLogger(__name__)
# Keys that belong to the command: they never come from the stored config.
KEYS_OF_THE_COMMAND = ("role", "ckpt", "render", "record", "json", "base.name", "base.models", "base.trust")
# Keys that belong to the command when it plays: base.max_iter limits what is played now, not what was trained.
KEYS_OF_PLAYING = ("base.max_iter",)
# Keys that belong to the command when it runs a role of a cell: they differ between the processes of a cell.
KEYS_OF_THE_PROCESS = ("base.threads", "base.port", *(key for key in all_keys() if key.startswith("net.")))
# Keys that a resumed run keeps even if they are typed, so that a command can be repeated.
KEYS_OF_THE_RUN = ("seed", "sac.seed", "repeat")
# Keys that older runs did not write, with the values that keep what those runs did.
VALUES_OF_OLDER_RUNS: dict[str, object] = {
    "base.scale_by": "255",
    "base.channels": "before",
    "sac.soft_target": True,
    "eval.max_episode_steps": -1,
    "base.group_rewards": "add",
    "base.evolver_strategy": "cem",
}


def stored_config(composed: DictConfig, overrides: Mapping[str, object], job: int | None = None) -> DictConfig:
    """The config to use: the stored one of a run that is resumed or played, with the overrides; else the composed one.

    Keys that the stored config lacks, since the run is older, come from today's conf/. `job` is the number in a
    multirun. Raises UserError when the run to resume or play does not exist.
    """
    composed = _resolved(composed)
    with_texts(composed)
    if composed.get("base") is None or OmegaConf.is_missing(composed.base, "scene"):
        return composed  # the validation will say what is missing
    composed.base.trust = overrides.get("base.trust", False)  # a config file may have come together with the code
    for key in (*KEYS_OF_THE_COMMAND, "base.scene"):
        try:
            check_value(key, OmegaConf.select(composed, key))
        except OmegaConfBaseException as error:  # a text that still looks like an interpolation
            raise UserError(f"{key}: {str(error).splitlines()[0]}") from error
    wants_stored = _wants_stored(composed)
    if job is not None:
        composed.base.name = name_of_job(composed, job)
        check_value("base.name", composed.base.name)
    folder = RunFolder.of(composed)
    if not _exists(folder.config):
        if not wants_stored:
            return composed
        missing = "no run was named" if "{time}" in composed.base.name else f"there is no run {folder.path}"
        raise UserError(f"{missing}; {_newest_runs(folder.path.parent)}")
    if composed.role != "play" and composed.ckpt is None:
        return composed
    try:
        stored = folder.read_config()
    except Unreadable as error:
        if composed.role == "play" or composed.ckpt != "auto":
            raise
        log.warning("%s. What this command says is used instead", error)
        return composed
    folder.check_kind(composed, stored)
    merged = _merged(stored, composed, overrides)
    if merged.role in LEARNING_ROLES and merged.base.evolver_enabled is not True:
        _keep_what_an_evolver_moved(merged, folder, overrides)
    return merged


def name_of_job(composed: DictConfig, job: int) -> str:
    """The base.name of a multirun's job: with its number, unless it resumes or plays the very run that is named."""
    exists = _wants_stored(composed) and _exists(RunFolder.of(composed).config)
    return str(composed.base.name) if exists else name_in_multirun(composed, job)


def _wants_stored(composed: DictConfig) -> bool:
    """Whether the run must exist already."""
    return composed.role == "play" or composed.ckpt not in (None, "auto")


def _resolved(composed: DictConfig) -> DictConfig:
    """A copy without interpolations. Raises UserError for one that cannot be resolved."""
    try:
        resolved = OmegaConf.create(OmegaConf.to_container(composed, resolve=True, throw_on_missing=False))
    except OmegaConfBaseException as error:
        why = str(error).splitlines()[0].removeprefix("UserError raised while resolving interpolation: ")
        raise UserError(f"{error.full_key}: {why}") from error
    assert isinstance(resolved, DictConfig)
    return resolved


def _exists(path: Path) -> bool:
    """Raises UserError where the file system does not accept the path, e.g. because it is too long."""
    try:
        return path.exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"base.models, base.scene and base.name make {path}: {reason}") from error


def _merged(stored: DictConfig, composed: DictConfig, overrides: Mapping[str, object]) -> DictConfig:
    """The stored config with the keys of this command and its overrides.

    A key that the run did not write gets its value of VALUES_OF_OLDER_RUNS, or today's default.
    """
    for key in all_keys():
        section, _, leaf = key.rpartition(".")
        holder = OmegaConf.select(stored, section) if section else stored
        if holder is not None and leaf not in holder:
            older = VALUES_OF_OLDER_RUNS
            OmegaConf.update(
                stored, key, older[key] if key in older else OmegaConf.select(composed, key), force_add=True
            )
    playing = KEYS_OF_PLAYING if composed.role == "play" else ()
    for key in (*KEYS_OF_THE_COMMAND, *playing, *(KEYS_OF_THE_PROCESS if composed.role in CELL else ())):
        OmegaConf.update(stored, key, OmegaConf.select(composed, key))
    for key, value in overrides.items():
        if key in KEYS_OF_THE_COMMAND or (key in KEYS_OF_THE_RUN and composed.role != "play"):
            continue
        free = field_of(key) is None  # a name of the user's own: reset.x, base.nn_kwargs.ModelQ.hidden
        OmegaConf.update(stored, key, value, force_add=free, merge=free)
    if "seed" in overrides and "sac.seed" not in overrides and composed.role == "play":
        stored.sac.seed = composed.seed
    return stored


def _keep_what_an_evolver_moved(config: DictConfig, folder: RunFolder, overrides: Mapping[str, object]) -> None:
    """A learner that leaves its population goes on with the hyperparameters that it has at its checkpoint."""
    which = "latest" if config.ckpt == "auto" else config.ckpt
    numbers = Checkpoints(folder.checkpoints).scalars("evolving", which).get("numbers", {})
    moved = sorted(numbers.keys() - overrides.keys())
    for name in moved:
        number = float(numbers[name])
        OmegaConf.update(config, name, int(number) if number.is_integer() else number)
    if moved:
        told = ", ".join(f"{name}={numbers[name]:.4g}" for name in moved)
        log.warning("this run leaves its population and goes on with what the evolver has set: %s", told)


def _newest_runs(scene: Path) -> str:
    """A hint for the user that names the runs of a scene."""
    runs = sorted((p for p in scene.glob("*/config.yaml")), key=lambda p: p.stat().st_mtime)
    if not runs:
        return f"{scene} holds no runs yet: train one first"
    return "give one by base.name=..., newest first: " + ", ".join(p.parent.name for p in runs[::-1][:5])


def config_of_run(folder: RunFolder) -> DictConfig:
    """The config of a run as `role=play` uses it, with today's defaults for keys that the run did not write.

    Raises UserError when there is no such run or its config is damaged.
    """
    if not _exists(folder.config):
        inside = any(folder.path.glob("*/config.yaml"))
        raise UserError(
            f"{folder.path} is no run folder; {_newest_runs(folder.path if inside else folder.path.parent)}"
        )
    OmegaConf.register_new_resolver("host_number", host_number, replace=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        defaults = compose("config", ["role=play"])
    stored = folder.read_config()
    with_texts(defaults)
    defaults.base.env = stored.base.get("env")  # Hydra knows it while it runs a job only
    defaults.base.scene, defaults.base.name = stored.base.scene, folder.path.resolve().name
    return _merged(stored, _resolved(defaults), {})
