"""The state of a run on disk, written so that a run resumes after a crash at any moment. NumPy only.

A checkpoint is a folder `step_<env steps>` with one `<part>.npz` for each part's arrays and `scalars.json`. It is
written under a temporary name, flushed to the disk and renamed, so a checkpoint with a final name is complete;
`manifest.json` holds a sha256 of every file. Only the newest holds the replay. The last ten and the best by evaluation
are kept.

A disk may still lose bytes. The small files exist twice, and all intact parts of a damaged checkpoint are used. Files
that a resumed run does not use are moved to `set_aside`, where nothing is ever deleted.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sac.errors import UserError
from sac.files import flush_folder, make_folder
from sac.runs import checkpoint_files
from sac.runs.checkpoint_files import NEEDED, ONLY_NEWEST, Contents, Damaged, Part, State

log = logging.getLogger(__name__)
KEPT_CHECKPOINTS = 10  # besides the best
BOUND_TO_STEP = (*ONLY_NEWEST, "rollout")  # parts that an earlier checkpoint cannot replace when they are damaged
DISPENSABLE = ("evaluation", "exploring")  # parts that begin anew when no earlier checkpoint can replace them
WORTH_LOADING = (*NEEDED, *ONLY_NEWEST)  # a checkpoint is used when one of these parts is intact
ASIDE = "set_aside"
NAME = re.compile(r"step_(\d{12})(?:\.(\d+))?")  # a step that is written again gets a number


@dataclass
class Saved:
    """A checkpoint on disk; `lost` names the damaged parts that no other checkpoint could replace."""

    path: Path
    step: int
    evaluation: float | None
    lost: tuple[str, ...] = ()


class Checkpoints:
    """The checkpoints of one run. Each also holds copies of the files `beside`, which are small."""

    def __init__(self, folder: Path, beside: Sequence[Path] = ()):
        self.folder, self._beside = folder, beside

    def save(self, parts: Mapping[str, Part], step: int, evaluation: float | None) -> Path:
        """Writes all parts, then removes old checkpoints. Raises OSError, leaving nothing, when the disk refuses."""
        make_folder(self.folder)
        for left in self.folder.glob(".tmp-*"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = self.folder / f".tmp-{step}"
        try:
            temporary.mkdir()
            checkpoint_files.write(temporary, parts, self._beside, step, evaluation)
            final = self._free_name(step)
            temporary.rename(final)
            flush_folder(self.folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._tidy(final)
        return final

    def _free_name(self, step: int) -> Path:
        """A name that is not in use, since removing the former checkpoint first would risk having neither."""
        taken = [_number(s.path) for s in self.all() if s.step == step]
        return self.folder / (f"step_{step:012d}" + (f".{max(taken) + 1}" if taken else ""))

    def all(self) -> list[Saved]:
        """The checkpoints on disk, oldest first; one with a damaged manifest has no evaluation."""
        found = []
        for path in self.folder.glob("step_*"):
            if match := NAME.fullmatch(path.name):
                evaluation = checkpoint_files.read_manifest(path).get("evaluation")
                known = isinstance(evaluation, int | float)
                found.append(Saved(path, int(match[1]), evaluation if known else None))
        return sorted(found, key=lambda s: (s.step, _number(s.path)))

    def best(self) -> Saved | None:
        """The checkpoint with the highest evaluation, the newest of equals; None when none has an evaluation."""
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

    def scalars(self, part: str, which: str | int) -> Mapping[str, Any]:
        """A part's numbers without its arrays, from the checkpoint to try first; none where they cannot be read."""
        try:
            return _read(self.select(which)[0], ()).scalars.get(part, {})
        except (Damaged, UserError):  # whoever loads it says why
            return {}

    def load(self, parts: Mapping[str, Part], which: str | int) -> Saved:
        """Restores all parts; returns the checkpoint that was used, with the parts that are lost.

        All intact parts of a damaged checkpoint are used. An earlier checkpoint replaces damaged networks or
        statistics, while a damaged replay starts empty; so do evaluations and exploration when no earlier checkpoint
        can replace them. When neither networks nor replay are intact, the checkpoint before is used instead. Each
        replacement is logged as a warning. Parts that an older checkpoint no longer holds keep their fresh state.
        Raises UserError when no checkpoint is usable.
        """
        candidates = self.select(which)
        for saved in candidates:
            earlier = [] if isinstance(which, int) else [s for s in reversed(self.all()) if s.step < saved.step]
            try:
                contents = _read(saved, list(parts))
                states = self._mended(saved, contents, parts, earlier)
            except Damaged as error:
                log.warning("checkpoint %s is damaged (%s); trying the one before", saved.path.name, error)
                continue
            for name, part in parts.items():
                if name in states:
                    part.restore(*states[name])
                elif name not in contents.damaged:
                    why = "only the newest does" if name in ONLY_NEWEST else "it is an older version's"
                    log.warning("checkpoint %s holds no %s (%s): it starts empty", saved.path.name, name, why)
            return replace(saved, lost=tuple(name for name in contents.damaged if name not in states))
        raise UserError(
            f"{self._what_is_left(parts)}every checkpoint in {self.folder} is damaged ({len(candidates)} tried)"
        )

    def _mended(
        self, saved: Saved, contents: Contents, parts: Collection[str], earlier: Sequence[Saved]
    ) -> dict[str, State]:
        """The states of all parts, damaged ones replaced as `load` says. Raises Damaged when that is impossible."""
        damaged = ", ".join(f"{name}.npz {why}" for name, why in contents.damaged.items())
        if contents.damaged and not any(name in contents.arrays for name in WORTH_LOADING):
            raise Damaged(damaged)
        states, said = {name: contents.state(name) for name in contents.arrays}, list[str]()
        for name in contents.damaged:
            replacement = None if name in BOUND_TO_STEP else _newest_intact(name, earlier)
            if replacement is not None:
                other, states[name] = replacement
                said.append(f"the {name} of step {other.step} takes its place")
            elif name in (*BOUND_TO_STEP, *DISPENSABLE):
                said.append(f"the {name} begins anew")
            else:
                raise Damaged(damaged)
        if said:
            log.warning(
                "checkpoint %s is damaged (%s): %s; all else is as it was at step %d", saved.path.name, damaged,
                ", ".join(said), saved.step,
            )  # fmt: skip
        return states

    def _what_is_left(self, parts: Collection[str]) -> str:
        """A hint for the user when the replay is intact although no networks are."""
        for saved in self.all()[:-2:-1]:
            with contextlib.suppress(Damaged):
                if any(name in parts and name in _read(saved, [name]).arrays for name in ONLY_NEWEST):
                    run = shlex.quote(self.folder.parent.as_posix())
                    return f"the memory of {saved.path.name} is intact, a new run takes it by replay.load={run}; "
        return ""

    def newest_with(self, part: str) -> tuple[Saved, dict[str, np.ndarray], Mapping[str, Any]]:
        """The newest checkpoint that holds this part undamaged, and the part's arrays and scalars.

        A warning is logged for each damaged one. Raises UserError when there is none.
        """
        for saved in reversed(self.all()):
            try:
                contents = _read(saved, [part])
                if part in contents.damaged:
                    raise Damaged(f"{part}.npz {contents.damaged[part]}")
            except Damaged as error:
                log.warning("checkpoint %s is damaged (%s); trying the one before", saved.path, error)
                continue
            if part in contents.arrays:
                return saved, contents.arrays[part], contents.state(part)[1]
        raise UserError(
            f"{self.folder} holds no undamaged checkpoint with a {part}: a run keeps it in its newest checkpoint only, "
            "and only with replay.save=true"
        )

    def continue_from(self, loaded: Saved) -> None:
        """Moves later checkpoints and damaged files to `set_aside`, so that `latest` means the resumed run.

        Raises UserError when a newer version of this program has written a later checkpoint.
        """
        saved = self.all()
        later = saved[[s.path for s in saved].index(loaded.path) + 1 :]
        for one in later:
            checkpoint_files.check_format(one.path)
        for one in later:
            self._set_aside(one.path, f"going on from {loaded.path.name}: the later {one.path.name}")
        for name in loaded.lost:
            if (file := loaded.path / f"{name}.npz").exists():
                self._set_aside(file, f"the damaged {file.name} of {loaded.path.name}")

    def _set_aside(self, path: Path, what: str) -> None:
        place = self.folder / ASIDE / ("" if path.parent == self.folder else path.parent.name)
        make_folder(place)
        taken, target = 0, place / path.name
        while target.exists():
            taken += 1
            target = place / f"{path.name}-{taken}"
        path.rename(target)
        size = sum(file.stat().st_size for file in (target, *target.rglob("*")) if file.is_file())
        log.warning(
            "%s was moved to %s (%.1f MB); it stays until you remove it: rm -r %s", what, target.parent, size / 1e6,
            shlex.quote(target.as_posix()),
        )  # fmt: skip

    def _tidy(self, newest: Path) -> None:
        best = self.best()
        for i, saved in enumerate(reversed(self.all())):
            if saved.path == newest:
                continue
            replaced = _parsed(saved.path)[0] == _parsed(newest)[0]
            if replaced or (i >= KEPT_CHECKPOINTS and (best is None or saved.path != best.path)):
                shutil.rmtree(saved.path, ignore_errors=True)
                continue
            for name in ONLY_NEWEST:
                (saved.path / f"{name}.npz").unlink(missing_ok=True)


def _read(saved: Saved, names: Collection[str]) -> Contents:
    return checkpoint_files.read(saved.path, saved.step, names)


def _newest_intact(name: str, earlier: Sequence[Saved]) -> tuple[Saved, State] | None:
    """The newest of the earlier checkpoints in which a part is intact, and the part's state."""
    for saved in earlier:
        with contextlib.suppress(Damaged):
            contents = _read(saved, [name])
            if name in contents.arrays:
                return saved, contents.state(name)
    return None


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
    return _parsed(path)[1]


def _parsed(path: Path) -> tuple[int, int]:
    """Step and number in the name of a checkpoint."""
    match = NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2] or 0)
