"""Writes played episodes as a Minari dataset."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.gymnasium_adapter.observation_space import PLAIN_SENSOR_NAME
from envs.joint_branches import joint_parts
from sac.errors import UserError
from sac.types import Sensor, Spec, Step


class MinariRecorder:
    """Collects episodes and writes them when it is closed.

    The dataset holds what the policy saw and did: a Box for each sensor (a Dict where there are several), continuous
    actions within `bounds` [2, A] (None: [-1, 1]), and `branches` of discrete choices, as the scene has them. Raises
    UserError when the package is missing or the dataset exists.
    """

    def __init__(
        self, dataset_id: str, spec: Spec, branches: tuple[int, ...], bounds: Any = None, description: str = ""
    ) -> None:
        try:
            import minari
        except ImportError as error:
            raise UserError(f'record=minari needs the extra minari ({error}): pip install -e ".[minari]"') from error
        if dataset_id in minari.list_local_datasets():
            raise UserError(
                f"record=minari: the dataset {dataset_id} exists: minari delete {dataset_id}, or play another run"
            )
        self.dataset_id, self._spec, self._branches, self._description = dataset_id, spec, branches, description
        sides = ((-1.0,) * spec.continuous, (1.0,) * spec.continuous) if bounds is None else bounds
        self._low, self._high = (np.asarray(side, np.float32) for side in sides)
        self._episodes: list[Any] = []

    def write(self, episode: Step) -> None:
        """Adds the rows of an episode, of which the last holds the final observation."""
        from minari.data_collector import EpisodeBuffer

        n = len(episode.last) - 1
        obs = {sensor.name: episode.obs[sensor.name] for sensor in self._spec.sensors}
        ended = np.arange(n) == n - 1
        terminated = ended & (episode.discount[:n] == 0)
        self._episodes.append(EpisodeBuffer(
            id=len(self._episodes),
            observations=obs.get(PLAIN_SENSOR_NAME, obs) if len(obs) == 1 else obs,
            actions=self._actions(episode, n),
            rewards=episode.reward[:n].tolist(),
            terminations=terminated.tolist(),
            truncations=(ended & ~terminated).tolist(),
            infos={},
        ))  # fmt: skip

    def close(self) -> str:
        """Writes the dataset; returns words about it. Raises UserError when the disk refuses."""
        import minari

        if not self._episodes:
            return "nothing: no episode was complete"
        steps = sum(len(episode.rewards) for episode in self._episodes)
        try:
            minari.create_dataset_from_buffers(
                dataset_id=self.dataset_id, buffer=self._episodes, observation_space=self._observation_space(),
                action_space=self._action_space(), description=self._description, algorithm_name="SAC",
                data_format="hdf5", jpeg_encoding=False,
            )  # fmt: skip
        except OSError as error:
            raise UserError(f"record=minari: {self.dataset_id} cannot be written: {error.strerror or error}") from error
        return f"minari:{self.dataset_id}: {len(self._episodes)} episodes, {steps} steps"

    def _actions(self, episode: Step, n: int) -> Any:
        """The actions of n rows as the action space has them."""
        unit = (np.tanh(episode.raw_action[:n]) + 1) / 2
        continuous = (self._low + unit * (self._high - self._low)).astype(np.float32)
        joined = self._branches != self._spec.branches
        choices = joint_parts(self._branches)[episode.discrete[:n, 0]] if joined else episode.discrete[:n]
        discrete = choices[:, 0].astype(np.int64) if len(self._branches) == 1 else choices.astype(np.int64)
        if not self._branches:
            return continuous
        return {"continuous": continuous, "discrete": discrete} if self._spec.continuous else discrete

    def _action_space(self) -> spaces.Space:
        box = spaces.Box(self._low, self._high, dtype=np.float32)
        if not self._branches:
            return box
        several = len(self._branches) > 1
        discrete = spaces.MultiDiscrete([*self._branches]) if several else spaces.Discrete(self._branches[0])
        return spaces.Dict({"continuous": box, "discrete": discrete}) if self._spec.continuous else discrete

    def _observation_space(self) -> spaces.Space:
        boxes: dict[str, spaces.Space] = {sensor.name: _box(sensor) for sensor in self._spec.sensors}
        return boxes[PLAIN_SENSOR_NAME] if [*boxes] == [PLAIN_SENSOR_NAME] else spaces.Dict(boxes)


def _box(sensor: Sensor) -> spaces.Box:
    dtype: Any = np.dtype(sensor.dtype)
    if sensor.bounds is None:
        return spaces.Box(-math.inf, math.inf, sensor.shape, dtype)
    sides = (np.broadcast_to(np.reshape(bound, -1), math.prod(sensor.shape)) for bound in sensor.bounds)
    low, high = (side.reshape(sensor.shape).astype(dtype) for side in sides)
    return spaces.Box(low, high, sensor.shape, dtype)
