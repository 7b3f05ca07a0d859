"""Decodes the messages of one behaviour into arrays. Unusable rows are reported, never silently repaired."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envs.unity_adapter import images
from sac.errors import UserError
from sac.types import Sensor, Spec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SensorLayout:
    """A sensor and the layout of its data in an agent's message."""

    sensor: Sensor
    wire_shape: tuple[int, ...]
    channels_first: bool = False


@dataclass
class DecodedAgents:
    """k decoded agents: arrays as in `sac.types.Turn`, and what is wrong with each unusable row."""

    obs: dict[str, np.ndarray]  # {sensor: [k, ...]}
    reward: np.ndarray  # [k] float32, the sum of own and group reward
    faults: dict[int, str] = field(default_factory=dict)  # row -> "sensor X holds nan"


class Decoder:
    """Decodes the agents of one behaviour, whose sensors and actions its first message tells."""

    def __init__(self, brain: Any, info: Any, package_version: str = "") -> None:
        self.name = brain.brain_name
        self.columns = tuple(_layouts(info.observations, package_version))
        continuous, branches = _actions(brain)
        self.spec = Spec(tuple(column.sensor for column in self.columns), continuous, branches)
        self._clipped: set[str] = set()

    def rows(self, infos: list) -> DecodedAgents:
        """Decodes k AgentInfoProtos. Raises UserError for sensors that differ from those of the first message."""
        reward = np.array([info.reward + info.group_reward for info in infos], np.float32)
        rows = DecodedAgents({}, reward)
        for info in infos:
            if len(info.observations) != len(self.columns):
                raise UserError(
                    f"Unity behaviour {self.name}: agent {info.id} has {len(info.observations)} sensors, the first one "
                    f"had {len(self.columns)}. All agents of a behaviour need the same sensors."
                )
        for index, column in enumerate(self.columns):
            observations = [info.observations[index] for info in infos]
            for observation, info in zip(observations, infos):
                if tuple(observation.shape) != column.wire_shape:
                    raise UserError(
                        f"Unity behaviour {self.name}: sensor {column.sensor.name} of agent {info.id} has shape "
                        f"{tuple(observation.shape)}, at first it was {column.wire_shape}."
                    )
            decode = self._images if column.sensor.is_image else self._vectors
            rows.obs[column.sensor.name] = decode(column, observations, rows.faults)
        for row in np.flatnonzero(~np.isfinite(reward)).tolist():
            rows.faults[row] = f"the reward is {reward[row]}"
        return rows

    def masks(self, infos: list) -> np.ndarray:
        """Masks [k, C] bool, true = legal. Unity sends what is forbidden, and nothing where everything is legal."""
        legal = np.ones((len(infos), self.spec.choices), bool)
        for row, info in enumerate(infos):
            if len(info.action_mask) == self.spec.choices:
                np.logical_not(info.action_mask, out=legal[row])
        return legal

    def _vectors(self, column: SensorLayout, observations: list, faults: dict[int, str]) -> np.ndarray:
        (width,) = column.sensor.shape
        values = np.empty((len(observations), width), np.float32)
        for row, observation in enumerate(observations):
            values[row] = self._floats(column, observation, width)
        _find_faults(column, values, faults)
        return values

    def _images(self, column: SensorLayout, observations: list, faults: dict[int, str]) -> np.ndarray:
        pixels = np.zeros((len(observations), *column.sensor.shape), np.uint8)
        for row, observation in enumerate(observations):
            if observation.compression_type == images.PNG:
                try:
                    mapping = observation.compressed_channel_mapping
                    pixels[row] = images.decode_pngs(observation.compressed_data, column.sensor.shape[2], mapping)
                except (ValueError, IndexError, OSError) as error:
                    faults[row] = f"sensor {column.sensor.name} holds no usable picture ({error})"
                continue
            values = self._floats(column, observation, int(np.prod(column.wire_shape)))
            if _find_faults(column, values[None], faults, first_row=row):
                continue
            self._warn_if_clipped(column, values)
            pixels[row] = images.from_floats(values.reshape(column.wire_shape), column.channels_first)
        return pixels

    def _floats(self, column: SensorLayout, observation: Any, count: int) -> np.ndarray:
        """Reads the packed floats as one buffer: reading a picture's 20,000 numbers one by one takes milliseconds."""
        if len(observation.float_data.data) != count:
            raise UserError(
                f"Unity behaviour {self.name}: sensor {column.sensor.name} sends {len(observation.float_data.data)} "
                f"numbers, its shape {column.wire_shape} says {count}."
            )
        if count == 0:
            return np.zeros(0, np.float32)
        packed = observation.float_data.SerializeToString()
        return np.frombuffer(packed, "<f4", count, len(packed) - 4 * count)

    def _warn_if_clipped(self, column: SensorLayout, values: np.ndarray) -> None:
        name = column.sensor.name
        if name not in self._clipped and (values.min() < -1e-3 or values.max() > 1.001):
            self._clipped.add(name)
            logger.warning("sensor %s: raw picture values outside [0, 1] are clipped (stored as 8 bits)", name)


def _find_faults(column: SensorLayout, values: np.ndarray, faults: dict[int, str], first_row: int = 0) -> bool:
    """Adds the rows of `values` [k, n] that are not finite to `faults`; whether there was one."""
    finite = np.isfinite(values)
    if finite.all():
        return False
    for row in np.flatnonzero(~finite.all(axis=1)).tolist():
        place = int(np.flatnonzero(~finite[row])[0])
        faults[first_row + row] = f"sensor {column.sensor.name} holds {values[row, place]} at place {place}"
    return True


def _layouts(observations: Any, package_version: str) -> Iterator[SensorLayout]:
    """The layout of each sensor of a message; a name that comes twice gets a number."""
    taken: set[str] = set()
    for index, observation in enumerate(observations):
        name = _unique(observation.name or f"sensor_{index}", taken)
        shape = tuple(observation.shape)
        if len(shape) != 3:  # rank 2 is a list of entities of equal size: flattened, with its padding
            yield SensorLayout(Sensor(name, (int(np.prod(shape)),)), shape)
            continue
        first = images.is_channels_first(observation, package_version)
        image = (shape[1], shape[2], shape[0]) if first else shape
        yield SensorLayout(Sensor(name, image, "uint8"), shape, first)


def _unique(name: str, taken: set[str]) -> str:
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    taken.add(unique)
    return unique


def _actions(brain: Any) -> tuple[int, tuple[int, ...]]:
    """The number of continuous actions and the branch sizes; old packages (before 1.3) use the deprecated fields."""
    action = brain.action_spec
    if action.num_continuous_actions or action.num_discrete_actions:
        return action.num_continuous_actions, tuple(action.discrete_branch_sizes)
    sizes = tuple(brain.vector_action_size_deprecated)
    if brain.vector_action_space_type_deprecated == 1:
        return sum(sizes[:1]), ()
    return 0, sizes
