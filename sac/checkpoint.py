"""Everything that must survive, on disk in a way that a crash at any moment leaves a run that resumes. NumPy only.

A checkpoint is a folder `step_<env steps>` with one `<part>.npz` for each part's arrays and `scalars.json`. It is
written under a temporary name, flushed to the disk and renamed, so a name that is there is whole; `manifest.json` holds
a sha256 of every file. The newest keeps the replay; the last ten and the best by evaluation stay.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from sac.errors import UserError

log = logging.getLogger(__name__)
KEEP = 10
ONLY_NEWEST = ("replay",)  # parts that only the newest checkpoint keeps
ASIDE = "set_aside"
FORMAT = 1
NAME = re.compile(r"step_(\d{12})(?:\.(\d+))?")  # the same step written again gets a number

State = tuple[Mapping[str, np.ndarray], Mapping]


class Part(Protocol):
    """Something that must survive: arrays by name, and scalars ready for JSON."""

    def state(self) -> State: ...
    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping) -> None: ...


@dataclass
class Saved:
    """A checkpoint on disk."""

    path: Path
    step: int
    evaluation: float | None


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, parts: Mapping[str, Part], step: int, evaluation: float | None) -> Path:
        """Writes all parts and drops what is too old. Raises OSError when the disk refuses; nothing is left then."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".tmp-*"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = self.folder / f".tmp-{step}"
        try:
            temporary.mkdir()
            digests, scalars = {}, {}
            for name, part in parts.items():
                arrays, scalars[name] = part.state()
                digests[f"{name}.npz"] = _write_arrays(temporary / f"{name}.npz", arrays)
            digests["scalars.json"] = _write(temporary / "scalars.json", json.dumps(scalars).encode())
            manifest = {"format": FORMAT, "step": step, "evaluation": evaluation, "sha256": digests}
            _write(temporary / "manifest.json", json.dumps(manifest, indent=1).encode())
            _flush_folder(temporary)
            final = self._free_name(step)
            temporary.rename(final)
            _flush_folder(self.folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._tidy(final)
        return final

    def _free_name(self, step: int) -> Path:
        """Never one that is there: removing it first would leave a moment without either."""
        taken = [_number(s.path) for s in self.all() if s.step == step]
        return self.folder / (f"step_{step:012d}" + (f".{max(taken) + 1}" if taken else ""))

    def all(self) -> list[Saved]:
        """What is there, oldest first; a damaged one has no evaluation."""
        found = []
        for path in self.folder.glob("step_*"):
            if match := NAME.fullmatch(path.name):
                try:
                    evaluation = json.loads((path / "manifest.json").read_text()).get("evaluation")
                except (OSError, ValueError, AttributeError):
                    evaluation = None
                found.append(Saved(path, int(match[1]), evaluation))
        return sorted(found, key=lambda s: (s.step, _number(s.path)))

    def best(self) -> Saved | None:
        """The one with the highest evaluation, the newest of equals; None without any evaluation."""
        scored = [s for s in self.all() if s.evaluation is not None]
        return max(scored, key=lambda s: (s.evaluation, s.step), default=None)

    def select(self, which: str | int) -> list[Saved]:
        """Candidates for `latest`, `best` or a step, in the order to try them. Raises UserError when there is none."""
        saved = self.all()
        if isinstance(which, int):
            chosen = [s for s in reversed(saved) if s.step == which]
            if not chosen:
                raise UserError(f"ckpt={which}: no such step in {self.folder}; there are {[s.step for s in saved]}")
            return chosen
        chosen = saved[::-1]
        best = self.best()
        if which == "best" and best is not None:
            chosen = [best] + [s for s in chosen if s.path != best.path]
        if not chosen:
            raise UserError(
                f"{self.folder} holds no checkpoint: the run ended before its first one; ckpt=auto begins it again"
            )
        return chosen

    def load(self, parts: Mapping[str, Part], which: str | int) -> Saved:
        """Restores all parts and returns what it took; a damaged checkpoint is passed over, and that is said.

        Parts that an older checkpoint no longer holds keep their fresh state. Raises UserError when none is usable.
        """
        candidates = self.select(which)
        for saved in candidates:
            try:
                contents = read(saved, list(parts))
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("checkpoint %s is damaged (%s); trying the one before", saved.path.name, error)
                continue
            scalars = contents.pop("scalars")
            for name, part in parts.items():
                if name in contents:
                    part.restore(contents[name], scalars[name])
                else:
                    log.warning(
                        "checkpoint %s holds no %s (only the newest does): it starts empty", saved.path.name, name
                    )
            return saved
        raise UserError(f"every checkpoint in {self.folder} is damaged ({len(candidates)} tried)")

    def newest_with(self, part: str) -> tuple[Saved, dict[str, np.ndarray], Mapping]:
        """The newest undamaged checkpoint that holds this part: itself, the part's arrays and scalars.

        Damaged ones are passed over, and that is said. Raises UserError when there is none.
        """
        for saved in reversed(self.all()):
            try:
                contents = read(saved, [part])
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("checkpoint %s is damaged (%s); trying the one before", saved.path, error)
                continue
            if part in contents:
                return saved, contents[part], contents["scalars"][part]
        raise UserError(
            f"{self.folder} holds no undamaged checkpoint with a {part}: a run keeps it in its newest checkpoint only, "
            "and only with replay.save=true"
        )

    def continue_from(self, loaded: Saved) -> None:
        """Sets later checkpoints aside, damaged or passed over by choice: `latest` shall mean the line that goes on."""
        saved = self.all()
        later = saved[[s.path for s in saved].index(loaded.path) + 1 :]
        for one in later:
            (self.folder / ASIDE).mkdir(exist_ok=True)
            target = self.folder / ASIDE / one.path.name
            if target.exists():
                shutil.rmtree(target, ignore_errors=True)
            one.path.rename(target)
            log.warning(
                "going on from %s: the later %s was moved to %s", loaded.path.name, one.path.name, target.parent
            )

    def _tidy(self, newest: Path) -> None:
        best = self.best()
        for i, saved in enumerate(reversed(self.all())):
            if saved.path == newest:
                continue
            replaced = NAME.fullmatch(saved.path.name)[1] == NAME.fullmatch(newest.name)[1]
            if replaced or (i >= KEEP and (best is None or saved.path != best.path)):
                shutil.rmtree(saved.path, ignore_errors=True)
                continue
            _without_large_parts(saved.path)
        for path in (self.folder / ASIDE).glob("step_*"):
            _without_large_parts(path)


def _without_large_parts(path: Path) -> None:
    for name in ONLY_NEWEST:
        (path / f"{name}.npz").unlink(missing_ok=True)


def read(saved: Saved, names: list[str]) -> dict:
    """Contents {part: arrays, "scalars": ...} of a checkpoint, each file checked against its sha256.

    Raises OSError, ValueError, KeyError or TypeError when something is missing or damaged.
    """
    path = saved.path
    manifest = json.loads((path / "manifest.json").read_text())
    if manifest["format"] != FORMAT or manifest["step"] != saved.step:
        raise ValueError(f"format {manifest['format']}, step {manifest['step']}; expected {FORMAT}, {saved.step}")
    contents: dict = {}
    for name in names:
        file = path / f"{name}.npz"
        if not file.exists() and name in ONLY_NEWEST:
            continue
        _check(file, manifest["sha256"][file.name])
        with np.load(file) as arrays:
            contents[name] = {key: arrays[key] for key in arrays.files}
    _check(path / "scalars.json", manifest["sha256"]["scalars.json"])
    contents["scalars"] = json.loads((path / "scalars.json").read_text())
    return contents


def check_disk(folder: Path, needed: int) -> None:
    """Raises UserError when the disk of `folder` has less than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {free / 1e6:.0f} MB are free, the checkpoints of this run need up to {needed / 1e6:.0f} MB; "
            "free some space, choose another base.models, or set replay.save=false or a smaller replay.capacity"
        )


def _number(path: Path) -> int:
    """How often its step had been written before."""
    return int(NAME.fullmatch(path.name)[2] or 0)


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    with path.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    return _digest(path)


def _write(path: Path, data: bytes) -> str:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path, expected: str) -> None:
    if _digest(path) != expected:
        raise ValueError(f"{path.name} does not match its sha256")


def _flush_folder(path: Path) -> None:
    """Makes renames in the folder durable where the system offers it (not on Windows)."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
