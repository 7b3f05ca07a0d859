"""The folder of a run, models/<scene>/<name>/: the paths in it, its config, its networks, its locks."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from sac.config.overrides import run_command
from sac.config.run_names import FOLDER_CHOSEN_BY
from sac.config.schema import CELL, Config
from sac.errors import UserError
from sac.files import make_folder, replacing, write_atomically
from sac.runs import trust
from sac.runs.config_file import Unreadable, is_damaged, read_config_file
from sac.runs.scene_file import SceneLayout

if TYPE_CHECKING:
    from sac.runs.checkpoint import Saved
    from sac.types import Env

log = logging.getLogger(__name__)


class RunFolder:
    """The folder of one run, and the paths of the files in it."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.config, self.networks = self.path / "config.yaml", self.path / "nn.py"
        self.scene = self.path / "scene.json"
        self.checkpoints, self.log = self.path / "checkpoints", self.path / "log"
        self.text_log, self.metrics = self.path / "log.log", self.path / "metrics.csv"
        self.result, self.video = self.path / "result.json", self.path / "video.mp4"
        self.demonstrations = self.path / "demonstrations"

    @classmethod
    def of(cls, config: Config | DictConfig) -> RunFolder:
        """The folder that the config names."""
        base = config.base
        return cls(Path(base.models) / base.scene / base.name)

    def create(self, config: Config, networks: Path | None) -> None:
        """Makes the folder of a new run with its config and a copy of its networks.

        Raises UserError when the name is taken or the folder cannot be written.
        """
        self.check_free(config)
        try:
            make_folder(self.path)
            if networks is None:
                self.networks.unlink(missing_ok=True)
            else:
                _copy(networks, self.networks)
        except OSError as error:
            raise UserError(
                f"cannot write the run folder {self.path}: {error.strerror or error} ({FOLDER_CHOSEN_BY})"
            ) from error
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
        """Raises UserError when a single process would resume the run of a cell, or a cell that of a single process."""
        if config.role == "play" or (stored.role in CELL) == (config.role in CELL):
            return
        if stored.role in CELL:
            of = "a cell: resume it by the command that began it, with hydra/launcher=roles or with role=..."
        else:
            of = f"a single process: resume it by {run_command(cast(Config, config), 'ckpt=latest')}, without roles"
        raise UserError(f"the run {self.path} is of {of}; or choose another base.name")

    def lock(self, role: str) -> Path:
        """The lock file of a role: train, learner, actor-1 ..."""
        return self.path / "train.lock" if role == "train" else self.path / "roles" / f"{role}.lock"

    def role_log(self, name: str) -> Path:
        """The log file of a role of a cell, in a folder that is made here."""
        folder = self.path / "roles"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"

    def own_networks(self) -> Path | None:
        """The copy of nn.py; None for a run with the default networks.

        A damaged copy is restored from a checkpoint. Raises UserError when no checkpoint holds it.
        """
        if is_damaged(self.networks):
            copy = next((c for c in self._copies(self.networks) if not is_damaged(c)), None)
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
        """The run's own config; where the file is damaged, the newest checkpoint's copy of it.

        Raises Unreadable when it is damaged and no checkpoint holds a copy, and UserError when an editor has damaged it
        or it has a key that this version does not know.
        """
        try:
            return read_config_file(self.config)
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
            return read_config_file(copy)

    def _copies(self, file: Path) -> list[Path]:
        """The copies of a file of this folder in the checkpoints, the newest first."""
        copies = [saved.path / file.name for saved in reversed(self._saved())]
        return [copy for copy in copies if copy.exists()]

    def _saved(self) -> list[Saved]:
        from sac.runs.checkpoint import Checkpoints  # imports NumPy, which --help does not need

        return Checkpoints(self.checkpoints).all()

    def write_config(self, config: Config) -> None:
        """Writes the config, and marks the run's code as used on this machine. Raises UserError for a disk error."""
        written = OmegaConf.structured(config)
        written.base.trust = False  # a user who gets this file must decide anew
        try:
            write_atomically(self.config, OmegaConf.to_yaml(written))
        except OSError as error:
            raise UserError(f"cannot write {self.config}: {error.strerror or error}") from error
        trust.remember(trust.pieces(self.path, asdict(config)))

    def check_code(self, trusted: bool, command: str, by_config: bool = True) -> None:
        """Raises UserError when the run brings code that is new on this machine; see sac.runs.trust.

        With `by_config` the code that its config names is checked as well as its nn.py.
        """
        self.own_networks()  # first, since networks restored from a checkpoint are code of the run too
        stored = OmegaConf.create()
        if by_config and self.config.exists():
            with contextlib.suppress(Unreadable):  # then the command's own config is used
                stored = self.read_config()
        found = trust.pieces(self.path, cast(dict[str, Any], OmegaConf.to_container(stored, resolve=False)))
        trust.check(found, trusted, self.path, command)

    def release(self) -> None:
        """Frees the name of a run that could not begin. Its logs stay, since they say why."""
        self.config.unlink(missing_ok=True)

    def write_scene(self, env: Env) -> SceneLayout:
        """Writes what the scene of a run that has started observes and does. A disk error is logged as a warning."""
        layout = SceneLayout.of(env)
        try:
            layout.write(self.scene)
        except OSError as error:
            log.warning("%s could not be written: %s", self.scene, error.strerror or error)
        return layout

    def new_demonstration(self) -> Path:
        """The path of a .demo file that does not exist, in a folder that is made here. Raises OSError."""
        make_folder(self.demonstrations)
        taken = {path.name for path in self.demonstrations.glob("*.demo")}
        return self.demonstrations / next(name for i in count(1) if (name := f"played-{i}.demo") not in taken)

    def write_result(self, result: dict) -> None:
        """Writes result.json. A disk error is logged as a warning."""
        try:
            write_atomically(self.result, json.dumps(result, indent=2) + "\n")
        except OSError as error:
            log.warning("%s could not be written: %s", self.result, error.strerror or error)


def _copy(file: Path, to: Path) -> None:
    with replacing(to) as new:
        new.write_bytes(file.read_bytes())
