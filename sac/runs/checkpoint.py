"""Everything that must survive, on disk in a way that a crash at any moment leaves a run that resumes. NumPy only.

A checkpoint is a folder `step_<env steps>` with one `<part>.npz` for each part's arrays and `scalars.json`. It is
written under a temporary name, flushed to the disk and renamed, so a name that is there is whole; `manifest.json` holds
a sha256 of every file. The newest keeps the replay; the last ten and the best by evaluation stay.

Disks lose bytes all the same. The small files are there twice, so that such a byte costs nothing, and of a damaged
checkpoint all parts that are intact are used. What is not used lies in `set_aside`, where nothing is ever deleted.
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

import numpy as np

from sac.errors import UserError
from sac.files import flush_folder, make_folder
from sac.runs import checkpoint_files
from sac.runs.checkpoint_files import NEEDED, ONLY_NEWEST, Contents, Damaged, Part, State

log = logging.getLogger(__name__)
KEEP = 10
ANEW = (*ONLY_NEWEST, "rollout")  # parts of one moment: where one is damaged, no other step's can take its place
DISPENSABLE = ("evaluation", "exploring")  # parts that may begin anew where no earlier checkpoint holds them either
WORTH = (*NEEDED, *ONLY_NEWEST)  # a checkpoint is used as long as one of these is intact
ASIDE = "set_aside"
NAME = re.compile(r"step_(\d{12})(?:\.(\d+))?")  # the same step written again gets a number


@dataclass
class Saved:
    """A checkpoint on disk; `lost` are the parts that could not be loaded from it because they are damaged."""

    path: Path
    step: int
    evaluation: float | None
    lost: tuple[str, ...] = ()


class Checkpoints:
    """The checkpoints of one run folder. `beside` are small files of the run of which each checkpoint holds a copy."""

    def __init__(self, folder: Path, beside: Sequence[Path] = ()):
        self.folder, self._beside = folder, beside

    def save(self, parts: Mapping[str, Part], step: int, evaluation: float | None) -> Path:
        """Writes all parts and drops what is too old. Raises OSError when the disk refuses; nothing is left then."""
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
        """Never one that is there: removing it first would leave a moment without either."""
        taken = [_number(s.path) for s in self.all() if s.step == step]
        return self.folder / (f"step_{step:012d}" + (f".{max(taken) + 1}" if taken else ""))

    def all(self) -> list[Saved]:
        """What is there, oldest first; a damaged one has no evaluation."""
        found = []
        for path in self.folder.glob("step_*"):
            if match := NAME.fullmatch(path.name):
                evaluation = checkpoint_files.read_manifest(path).get("evaluation")
                known = isinstance(evaluation, int | float)
                found.append(Saved(path, int(match[1]), evaluation if known else None))
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
        """Restores all parts and returns the checkpoint that it took, with the parts that are lost.

        Of a damaged one all that is intact is used: an earlier checkpoint lends networks or statistics, and a memory
        starts empty. So do the evaluations and the exploration where no earlier checkpoint lends them. Where neither
        networks nor memory are intact the one before is taken. Each of these is said.
        Parts that an older checkpoint no longer holds keep their fresh state. Raises UserError when none is usable.
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
        """The states of all parts that can be had, said where they are not this checkpoint's. Raises Damaged."""
        damaged = ", ".join(f"{name}.npz {why}" for name, why in contents.damaged.items())
        if contents.damaged and not any(name in contents.arrays for name in WORTH):
            raise Damaged(damaged)
        states, said = {name: contents.state(name) for name in contents.arrays}, []
        for name in contents.damaged:
            lent = None if name in ANEW else _lent(name, earlier)
            if lent is not None:
                lender, states[name] = lent
                said.append(f"the {name} of step {lender.step} takes its place")
            elif name in (*ANEW, *DISPENSABLE):
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
        """Words for a memory that is intact although no networks are."""
        for saved in self.all()[:-2:-1]:
            with contextlib.suppress(Damaged):
                if any(name in parts and name in _read(saved, [name]).arrays for name in ONLY_NEWEST):
                    run = shlex.quote(self.folder.parent.as_posix())
                    return f"the memory of {saved.path.name} is intact, a new run takes it by replay.load={run}; "
        return ""

    def newest_with(self, part: str) -> tuple[Saved, dict[str, np.ndarray], Mapping]:
        """The newest undamaged checkpoint that holds this part: itself, the part's arrays and scalars.

        Damaged ones are passed over, and that is said. Raises UserError when there is none.
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
                return saved, *contents.state(part)
        raise UserError(
            f"{self.folder} holds no undamaged checkpoint with a {part}: a run keeps it in its newest checkpoint only, "
            "and only with replay.save=true"
        )

    def continue_from(self, loaded: Saved) -> None:
        """Sets aside what the run does not go on from: later checkpoints and damaged files. Nothing is deleted.

        `latest` shall mean the line that goes on. Raises UserError when a later one is a newer version's.
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
            replaced = NAME.fullmatch(saved.path.name)[1] == NAME.fullmatch(newest.name)[1]
            if replaced or (i >= KEEP and (best is None or saved.path != best.path)):
                shutil.rmtree(saved.path, ignore_errors=True)
                continue
            for name in ONLY_NEWEST:
                (saved.path / f"{name}.npz").unlink(missing_ok=True)


def _read(saved: Saved, names: Collection[str]) -> Contents:
    return checkpoint_files.read(saved.path, saved.step, names)


def _lent(name: str, earlier: Sequence[Saved]) -> tuple[Saved, State] | None:
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
    return int(NAME.fullmatch(path.name)[2] or 0)
