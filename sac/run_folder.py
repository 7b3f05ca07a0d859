"""The folder of a run, models/<scene>/<name>/: its name, its config, its networks, what it holds."""

from __future__ import annotations

import json
import os
import random
import shutil
import string
import time
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sac.config import Config
from sac.errors import UserError

THIS_CALL = ("role", "ckpt", "render", "base.name", "base.models")  # of the command, never of the stored config


def resolved_name(name: str) -> str:
    """`{time}` becomes date, time and four random letters (from a stream of their own: seeded runs differ in name)."""
    letters = "".join(random.SystemRandom().choices(string.ascii_letters, k=4))
    return name.replace("{time}", time.strftime("%Y%m%d-%H%M%S") + letters)


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
        base = config.base
        try:
            if self.config.exists():
                raise UserError(
                    f"the run {self.path} exists already: resume it with ckpt=latest base.name={base.name}, "
                    f"play it with role=play base.name={base.name}, or choose another base.name"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            if networks is not None:
                shutil.copyfile(networks, self.networks)
            write_atomically(self.config, OmegaConf.to_yaml(OmegaConf.structured(config)))
        except OSError as error:
            raise UserError(f"cannot write the run folder {self.path}: {error.strerror or error}") from error

    def write_result(self, result: dict) -> None:
        write_atomically(self.result, json.dumps(result, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Writes a small file so that a reader sees the old one or the new one, never a half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf8")
    temporary.replace(path)


def stored_config(composed: DictConfig, overrides: dict[str, object]) -> DictConfig:
    """The config to use: a resumed or played run's own, changed by what was typed; else the composed one.

    Raises UserError when the run to resume or play does not exist.
    """
    composed = OmegaConf.create(OmegaConf.to_container(composed, resolve=True, throw_on_missing=False))
    if composed.get("base") is None or OmegaConf.is_missing(composed.base, "scene"):
        return composed  # validation says what is wrong
    start_anew = composed.role == "train" and composed.ckpt is None
    folder = RunFolder.of(composed)
    if start_anew or (composed.ckpt == "auto" and not folder.config.exists()):
        return composed
    if not folder.config.exists():
        raise UserError(f"there is no run {folder.path}; {_others(folder.path.parent)}")
    stored = OmegaConf.load(folder.config)
    for key in THIS_CALL:
        OmegaConf.update(stored, key, OmegaConf.select(composed, key))
    for key, value in overrides.items():
        if key not in THIS_CALL:
            OmegaConf.update(stored, key, value, force_add=True)
    return stored


def _others(scene: Path) -> str:
    runs = sorted((p for p in scene.glob("*/config.yaml")), key=lambda p: p.stat().st_mtime)
    if not runs:
        return f"{scene} holds no runs yet: train one first"
    return "give one by base.name=..., newest first: " + ", ".join(p.parent.name for p in runs[::-1][:5])
