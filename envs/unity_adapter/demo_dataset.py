"""Reads .demo files as Steps for the replay, in the form of the Unity adapter's own."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from envs.joint_branches import joint_choice, joint_mask
from envs.unity_adapter.decode import Decoder
from envs.unity_adapter.demo_file import Demonstration, demonstration_files, episodes, read_demonstration
from sac.errors import UserError
from sac.types import Sensor, Spec, Step

log = logging.getLogger(__name__)
MAX_CHUNK_ROWS = 4096  # of one Step
MAX_ABS_ACTION = 1 - 1e-6  # tanh reaches 1 at infinity only, so recorded actions are clipped to this


class DemoEpisodes:
    """The episodes of a .demo file, or of all files of a folder, as Steps of a single stream.

    Raises UserError when a file cannot be read, or when its sensors or actions are not those of `spec`.
    """

    def __init__(self, source: str, spec: Spec) -> None:
        self.source, self.spec = source, spec
        self._files = _readable(demonstration_files(Path(source).expanduser()))
        self._decoders = [self._checked(file) for file in self._files]
        for file in self._files:
            if file.cut:
                log.warning("%s is cut: its first %d records are used", file.path, len(file.pairs))
            elif not file.complete:
                log.warning(
                    "%s was not closed by its player: all of its %d records are used", file.path, len(file.pairs)
                )
            self._warn_of_broad_actions(file)

    def __len__(self) -> int:
        """The number of rows, final observations included."""
        return sum(len(acts) + 1 for file in self._files for acts, _ in episodes(file.pairs))

    def steps(self, capacity: int) -> Iterator[Step]:
        """All episodes in order, in Steps of at most `capacity` rows; an episode with NaN or infinity is left out."""
        left_out = 0
        for file, decoder in zip(self._files, self._decoders):
            for acts, end in episodes(file.pairs):
                step = self._step(decoder, acts, end)
                if step is None:
                    left_out += 1
                    continue
                for begin in range(0, len(step.last), min(MAX_CHUNK_ROWS, capacity)):
                    part = slice(begin, begin + min(MAX_CHUNK_ROWS, capacity))
                    obs = {name: x[part] for name, x in step.obs.items()}
                    yield Step(obs=obs, **{n: getattr(step, n)[part] for n in Step._fields if n != "obs"})
        if left_out:
            log.warning(
                "demo:%s: %d episodes with NaN, infinity or a broken picture were left out", self.source, left_out
            )

    def _step(self, decoder: Decoder, acts: list[Any], end: Any) -> Step | None:
        """The rows of an episode and its final row; None when a value is unusable."""
        spec, n = self.spec, len(acts)
        infos = [pair.agent_info for pair in (*acts, end)]
        rows = decoder.rows(infos)
        continuous, discrete = self._actions(acts)
        if rows.faults or not np.isfinite(continuous).all():
            return None
        mask = decoder.masks(infos)
        if self._joined(decoder):
            mask, discrete = joint_mask(mask, decoder.spec.branches), joint_choice(discrete, decoder.spec.branches)
        discount = np.ones(n + 1, np.float32)
        discount[n - 1] = float(end.agent_info.max_step_reached or not end.agent_info.done)
        raw = np.arctanh(np.clip(continuous, -MAX_ABS_ACTION, MAX_ABS_ACTION))
        k, f32 = n + 1, np.float32
        return Step(
            stream=np.zeros(k, np.int64),
            obs=rows.obs,
            mask=mask,
            raw_action=np.concatenate([raw, np.zeros((1, spec.continuous))]).astype(f32),
            discrete=np.concatenate([discrete, np.zeros((1, len(spec.branches)))]).astype(np.int32),
            log_prob=np.zeros((k, 2), f32),
            state=np.zeros((k, 0), f32),
            previous=np.zeros((k, 0), f32),
            reward=np.append(rows.reward[1:], 0).astype(f32),
            discount=discount,
            last=np.arange(k) == n,
        )

    def _actions(self, acts: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Continuous [n, A] and discrete [n, the scene's branches] actions; old files keep both in one field."""
        decoder = self._decoders[0]
        size, branches = decoder.spec.continuous, decoder.spec.branches
        continuous = np.zeros((len(acts), size), np.float32)
        discrete = np.zeros((len(acts), len(branches)), np.int32)
        for row, pair in enumerate(acts):
            info = pair.action_info
            old = list(info.vector_actions_deprecated)
            continuous[row] = list(info.continuous_actions) or (old if size and not branches else [0.0] * size)
            discrete[row] = list(info.discrete_actions) or (old if branches and not size else [0] * len(branches))
        if ((discrete < 0) | (discrete >= np.array(branches, int))).any():
            raise self._unfit("branches", list(branches), f"a choice of {int(discrete.max(initial=0))}")
        return continuous, discrete

    def _checked(self, file: Demonstration) -> Decoder:
        """The decoder of a file. Raises UserError where sensors or actions differ from the environment's."""
        decoder = Decoder(file.brain, file.pairs[0].agent_info)
        here, there = self.spec, {s.name: s for s in decoder.spec.sensors}
        for sensor in here.sensors:
            if _words(there.get(sensor.name)) != _words(sensor):
                raise self._unfit(f"sensor '{sensor.name}'", _words(sensor), _words(there.get(sensor.name)), file)
        for name in sorted(there.keys() - {s.name for s in here.sensors}):
            raise self._unfit(f"sensor '{name}'", "no such sensor", _words(there[name]), file)
        if decoder.spec.continuous != here.continuous:
            raise self._unfit("continuous actions", here.continuous, decoder.spec.continuous, file)
        branches = decoder.spec.branches
        if branches != here.branches and not self._joined(decoder):
            raise self._unfit("branches", list(here.branches), list(branches), file)
        return decoder

    def _joined(self, decoder: Decoder) -> bool:
        """Whether the environment has joined the branches of the file into one."""
        branches = decoder.spec.branches
        return len(branches) > 1 and self.spec.branches == (math.prod(branches),)

    def _warn_of_broad_actions(self, file: Demonstration) -> None:
        largest = max((abs(a) for pair in file.pairs for a in pair.action_info.continuous_actions), default=0.0)
        if largest > 1:
            log.warning(
                "%s: continuous actions up to %.3g are clipped to [-1, 1], the range of a policy", file.path, largest
            )

    def _unfit(self, what: str, expected: Any, found: Any, file: Demonstration | None = None) -> UserError:
        name = self.source if file is None else file.path
        return UserError(
            f"replay.load=demo:{name}: {what}: expected {expected}, found {found}; "
            "load a demonstration that was recorded in the same scene"
        )


def _readable(paths: list[Path]) -> list[Demonstration]:
    """The demonstrations of these files; of several, those that cannot be read are left out with a warning.

    Raises UserError when there is none.
    """
    found, errors = [], []
    for path in paths:
        try:
            found.append(read_demonstration(path))
        except UserError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    for unreadable in errors:
        log.warning("%s: it is left out", unreadable)
    return found


def _words(sensor: Sensor | None) -> str:
    return f"shape {sensor.shape} {sensor.dtype}" if sensor is not None else "none"
