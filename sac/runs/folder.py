"""The folder of a run, models/<scene>/<name>/: its name, its config, its networks, what it holds."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import string
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sac.config.overrides import run_command
from sac.config.schema import CELL, Config, all_keys, field_of
from sac.config.text_keys import with_texts
from sac.config.validation import check_value, unknown_key
from sac.errors import UserError
from sac.files import make_folder, replacing, write_atomically
from sac.runs import trust

log = logging.getLogger(__name__)
# Keys of the command, never of the stored config:
THIS_CALL = ("role", "ckpt", "render", "base.name", "base.models", "base.trust")
OF_PLAYING = ("base.max_iter",)  # bounds what is played in this call, not what was trained
OF_THE_PROCESS = ("base.threads", "base.port", *(key for key in all_keys() if key.startswith("net.")))  # and differ in
FREE_FORM = ("reset", "random_params")  # sections with names of the user's own
# Keys that older runs did not write: the value that keeps what those runs did.
AS_BEFORE: dict[str, object] = {
    "base.scale_by": "255",
    "base.channels": "before",
    "sac.soft_target": True,
    "eval.max_episode_steps": -1,
}
OF_THE_RUN = ("seed", "sac.seed", "repeat")  # a resumed run keeps its own, so that a command can be repeated
SECTIONS = ("base", "replay", "sac", "eval", "track")  # half a config lacks at least one of them
MOMENT = "SAC_MOMENT"  # environment variable: the moment that a multirun's parent has fixed for all its jobs


def moment() -> str:
    """Date, time and four random letters (from a stream of their own: seeded runs differ in name)."""
    letters = "".join(random.SystemRandom().choices(string.ascii_letters, k=4))
    return time.strftime("%Y%m%d-%H%M%S") + letters


def resolved_name(name: str) -> str:
    """`{time}` becomes the moment."""
    return name.replace("{time}", moment())


class Unreadable(UserError):  # noqa: N818 - what the file is
    """A stored config is damaged, as by a power cut, and there is no copy of it."""


class RunFolder:
    """Paths of one run."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.config, self.networks = self.path / "config.yaml", self.path / "nn.py"
        self.checkpoints, self.log = self.path / "checkpoints", self.path / "log"
        self.text_log, self.metrics = self.path / "log.log", self.path / "metrics.csv"
        self.result, self.video = self.path / "result.json", self.path / "video.mp4"

    @classmethod
    def of(cls, config: Config | DictConfig) -> RunFolder:
        base = config.base
        return cls(Path(base.models) / base.scene / base.name)

    def create(self, config: Config, networks: Path | None) -> None:
        """Makes the folder of a new run with its config and a copy of its networks.

        Raises UserError when the name is taken or the disk refuses.
        """
        self.check_free(config)
        try:
            make_folder(self.path)
            if networks is None:
                self.networks.unlink(missing_ok=True)
            else:
                _copy(networks, self.networks)
        except OSError as error:
            raise UserError(f"cannot write the run folder {self.path}: {error.strerror or error}") from error
        self.write_config(config)

    def check_free(self, config: Config) -> None:
        """Raises UserError when the name is taken."""
        if self.config.exists():
            self.check_kind(config, self.read_config())
            if not self._saved():
                raise UserError(
                    f"the run {self.path} exists already, without a checkpoint. To begin it again: "
                    f"{run_command(config, 'ckpt=auto')} ; or choose another base.name"
                )
            raise UserError(
                f"the run {self.path} exists already. To resume it: {run_command(config, 'ckpt=latest')} ; "
                f"to play it: {run_command(config, 'role=play')} ; or choose another base.name"
            )

    def check_kind(self, config: Config | DictConfig, stored: DictConfig) -> None:
        """Raises UserError when a single process shall go on with the run of a cell, or a cell with one's."""
        if config.role == "play" or (stored.role in CELL) == (config.role in CELL):
            return
        if stored.role in CELL:
            of = "a cell: resume it by the command that began it, with hydra/launcher=roles or with role=..."
        else:
            of = f"a single process: resume it by {run_command(config, 'ckpt=latest')}, without roles"
        raise UserError(f"the run {self.path} is of {of}; or choose another base.name")

    def lock(self, who: str) -> Path:
        """What a process holds as long as it is `train` or this role of the run."""
        return self.path / "train.lock" if who == "train" else self.path / "roles" / f"{who}.lock"

    def role_log(self, name: str) -> Path:
        """The log file of one of several roles."""
        folder = self.path / "roles"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"

    def own_networks(self) -> Path | None:
        """The copy of nn.py; None for a run with the default networks.

        One that a power cut has spoilt comes back from a checkpoint. Raises UserError where none holds it.
        """
        if _spoilt(self.networks):
            copy = next((c for c in self._copies(self.networks) if not _spoilt(c)), None)
            if copy is None and self.networks.exists():
                raise UserError(
                    f"{self.networks} is empty or damaged, and no checkpoint holds a copy of it: put the networks of "
                    "this run there once more, or remove the file if they were the default ones"
                )
            if copy is not None:
                log.warning("%s is missing, empty or damaged: it comes back from %s", self.networks, copy.parent)
                _copy(copy, self.networks)
        return self.networks.absolute() if self.networks.exists() else None

    def read_config(self) -> DictConfig:
        """The run's own config; the copy in a checkpoint where a power cut has torn it.

        Raises Unreadable for a damaged one of which there is no copy, and UserError for one that somebody has spoilt or
        that has a key which this version does not know.
        """
        try:
            return _read(self.config)
        except Unreadable as error:
            copy = next(iter(self._copies(self.config)), None)
            if copy is None:
                raise Unreadable(
                    f"{error}, and no checkpoint holds a copy of it. To go on with the run, give the command that "
                    "began it once more, with all that was typed then, and with ckpt=auto"
                ) from error
            if not copy.read_bytes().startswith(self.config.read_bytes().rstrip(b"\0")):
                raise UserError(f"{error}. A copy of it lies in {copy}: put that in its place") from error
            log.warning("%s: the copy in %s is used", error, copy.parent)
            return _read(copy)

    def _copies(self, file: Path) -> list[Path]:
        """Of a file of this folder in the checkpoints, the newest first."""
        copies = [saved.path / file.name for saved in reversed(self._saved())]
        return [copy for copy in copies if copy.exists()]

    def _saved(self) -> list:
        from sac.runs.checkpoint import Checkpoints  # it needs NumPy, which --help does without

        return Checkpoints(self.checkpoints).all()

    def write_config(self, config: Config) -> None:
        """From now on the run's code counts as used here. Raises UserError when the disk refuses."""
        written = OmegaConf.structured(config)
        written.base.trust = False  # whoever gets this file has to say it himself
        try:
            write_atomically(self.config, OmegaConf.to_yaml(written))
        except OSError as error:
            raise UserError(f"cannot write {self.config}: {error.strerror or error}") from error
        trust.remember(trust.pieces(self.path, asdict(config)))

    def check_code(self, trusted: bool, command: str, by_config: bool = True) -> None:
        """Raises UserError when the run brings code that is new on this machine; see sac.runs.trust.

        `by_config`: whether what its config names counts, and not its nn.py alone.
        """
        self.own_networks()  # first: what comes back from a checkpoint is code of the run as well
        stored = OmegaConf.create()
        if by_config and self.config.exists():
            with contextlib.suppress(Unreadable):  # then the command's own config is used
                stored = self.read_config()
        found = trust.pieces(self.path, OmegaConf.to_container(stored, resolve=False))
        trust.check(found, trusted, self.path, command)

    def release(self) -> None:
        """A run that could not begin gives its name back; its logs stay for whoever asks why."""
        self.config.unlink(missing_ok=True)

    def write_result(self, result: dict) -> None:
        """A full disk costs the file, not the run."""
        try:
            write_atomically(self.result, json.dumps(result, indent=2) + "\n")
        except OSError as error:
            log.warning("%s could not be written: %s", self.result, error.strerror or error)


def _copy(file: Path, to: Path) -> None:
    with replacing(to) as new:
        new.write_bytes(file.read_bytes())


def _spoilt(file: Path) -> bool:
    """Whether nothing but what a power cut leaves is in there."""
    data = file.read_bytes() if file.exists() else b""
    return not data.strip() or b"\0" in data


def stored_config(composed: DictConfig, overrides: Mapping[str, object], job: int | None = None) -> DictConfig:
    """The config to use: a resumed or played run's own, changed by what was typed; else the composed one.

    Keys that the run's version did not know come from today's conf/. `job` is the number in a multirun.
    Raises UserError when the run to resume or play does not exist.
    """
    try:
        composed = OmegaConf.create(OmegaConf.to_container(composed, resolve=True, throw_on_missing=False))
    except OmegaConfBaseException as error:
        why = str(error).splitlines()[0].removeprefix("UserError raised while resolving interpolation: ")
        raise UserError(f"{error.full_key}: {why}") from error
    with_texts(composed)
    if composed.get("base") is None or OmegaConf.is_missing(composed.base, "scene"):
        return composed  # validation says what is wrong
    composed.base.trust = overrides.get("base.trust", False)  # a file may have come with the code
    for key in (*THIS_CALL, "base.scene"):
        try:
            check_value(key, OmegaConf.select(composed, key))
        except OmegaConfBaseException as error:  # a text that looks like an interpolation even now
            raise UserError(f"{key}: {str(error).splitlines()[0]}") from error
    wants_stored = composed.role == "play" or composed.ckpt not in (None, "auto")
    if job is not None:
        exists = wants_stored and _exists(RunFolder.of(composed).config)  # meant as typed
        composed.base.name = composed.base.name if exists else name_in_multirun(composed, job)
        check_value("base.name", composed.base.name)
    folder = RunFolder.of(composed)
    if not _exists(folder.config):
        if not wants_stored:
            return composed
        missing = "no run was named" if "{time}" in composed.base.name else f"there is no run {folder.path}"
        raise UserError(f"{missing}; {_others(folder.path.parent)}")
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
    return _changed(stored, composed, overrides)


def _exists(path: Path) -> bool:
    """Raises UserError where the file system does not take the path, e.g. as too long."""
    try:
        return path.exists()
    except (OSError, ValueError) as error:
        raise UserError(f"base.models, base.scene and base.name make {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def name_in_multirun(composed: DictConfig, job: int) -> str:
    """Name and job number, so that no two jobs meet."""
    return f"{composed.base.name.replace('{time}', os.environ.get(MOMENT) or moment())}-{job}"


def _read(path: Path) -> DictConfig:
    """Raises Unreadable for a damaged file, and UserError for a key that this version does not know."""
    if _spoilt(path):
        raise Unreadable(f"{path} is empty or damaged")
    try:
        stored = OmegaConf.load(path)
    except Exception as error:  # yaml has its own
        raise Unreadable(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(stored, DictConfig):
        raise Unreadable(f"{path} is damaged: it holds no keys")
    known = set(all_keys())
    for section, value in stored.items():
        inner = [f"{section}.{k}" for k in value] if isinstance(value, DictConfig) and section not in FREE_FORM else []
        for key in (section, *inner):
            if key not in known:
                raise UserError(
                    f"{path}: {unknown_key(key)} (or was this run made by a newer version of this program? Then use "
                    "that one; nothing was changed)"
                )
    for section in SECTIONS:
        if not isinstance(stored.get(section), DictConfig):
            raise Unreadable(f"{path} is damaged: it holds no section {section}")
    return stored


def _changed(stored: DictConfig, composed: DictConfig, overrides: Mapping[str, object]) -> DictConfig:
    """The stored config with this call's keys and what was typed.

    A key that the run did not write gets its value of `AS_BEFORE`, or today's default.
    """
    for key in all_keys():
        section, _, leaf = key.rpartition(".")
        holder = OmegaConf.select(stored, section) if section else stored
        if holder is not None and leaf not in holder:
            value = AS_BEFORE[key] if key in AS_BEFORE else OmegaConf.select(composed, key)
            OmegaConf.update(stored, key, value, force_add=True)
    playing = OF_PLAYING if composed.role == "play" else ()
    for key in (*THIS_CALL, *playing, *(OF_THE_PROCESS if composed.role in CELL else ())):
        OmegaConf.update(stored, key, OmegaConf.select(composed, key))
    for key, value in overrides.items():
        if key in THIS_CALL or (key in OF_THE_RUN and composed.role != "play"):
            continue
        free = field_of(key) is None  # reset.x, base.nn_kwargs.ModelQ.hidden ...
        OmegaConf.update(stored, key, value, force_add=free, merge=free)
    if "seed" in overrides and "sac.seed" not in overrides and composed.role == "play":
        stored.sac.seed = composed.seed
    return stored


def _others(scene: Path) -> str:
    runs = sorted((p for p in scene.glob("*/config.yaml")), key=lambda p: p.stat().st_mtime)
    if not runs:
        return f"{scene} holds no runs yet: train one first"
    return "give one by base.name=..., newest first: " + ", ".join(p.parent.name for p in runs[::-1][:5])
