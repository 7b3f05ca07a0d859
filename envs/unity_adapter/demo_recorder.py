"""Writes played episodes as a .demo file of ML-Agents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs import png
from envs.joint_branches import joint_parts, separate_mask
from envs.unity_adapter import images
from envs.unity_adapter.decode import SensorLayout
from envs.unity_adapter.demo_file import DemonstrationWriter
from envs.unity_adapter.mlagents import AgentInfoActionPairProto, BrainParametersProto
from sac.types import Spec, Step

CHANNELS_FIRST = images.NONE, images.EQUIVARIANT, images.EQUIVARIANT  # dimension properties of [C, H, W]
CHANNELS_LAST = images.EQUIVARIANT, images.EQUIVARIANT, images.NONE


class DemoRecorder:
    """Writes episodes one after the other into one file, as if a single agent had played them all.

    `branches` are the scene's own, which the Spec may have joined. Raises OSError.
    """

    def __init__(
        self, path: Path, behaviour: str, columns: Sequence[SensorLayout], spec: Spec, branches: tuple[int, ...]
    ) -> None:
        self.path, self._columns, self._branches = path, columns, branches
        self._joined = branches != spec.branches
        brain = BrainParametersProto(brain_name=behaviour, is_training=True)
        brain.action_spec.num_continuous_actions = spec.continuous
        brain.action_spec.num_discrete_actions = len(branches)
        brain.action_spec.discrete_branch_sizes.extend(branches)
        self._writer = DemonstrationWriter(path, brain)

    def write(self, episode: Step) -> None:
        """Adds the rows of an episode, of which the last holds the final observation."""
        discrete = joint_parts(self._branches)[episode.discrete[:, 0]] if self._joined else episode.discrete
        mask = separate_mask(episode.mask, self._branches) if self._joined else episode.mask
        actions = np.tanh(episode.raw_action)
        for i, last in enumerate(episode.last.tolist()):
            pair = AgentInfoActionPairProto()
            info = pair.agent_info
            info.reward = float(episode.reward[i - 1]) if i else 0.0
            info.done, info.max_step_reached = last, last and bool(i) and bool(episode.discount[i - 1] > 0)
            for column in self._columns:
                _write_observation(info.observations.add(), column, episode.obs[column.sensor.name][i])
            if not last:
                info.action_mask.extend((~mask[i]).tolist())
            newest = i - 1 if last and i else i  # Unity repeats it in the final record
            pair.action_info.continuous_actions.extend(actions[newest].tolist())
            pair.action_info.discrete_actions.extend(discrete[newest].tolist())
            self._writer.add(pair)

    def close(self) -> str:
        """Completes the file; returns words about it. Without an episode there is no file."""
        meta = self._writer.meta
        if not meta.number_steps:
            self._writer.discard()
            return "nothing: no episode was complete"
        self._writer.close()
        return f"{self.path}: {meta.number_episodes} episodes, {meta.number_steps} records"


def _write_observation(proto: Any, column: SensorLayout, value: np.ndarray) -> None:
    """One sensor's observation as Unity sends it."""
    proto.name = column.sensor.name
    proto.shape.extend(column.wire_shape)
    if not column.sensor.is_image:
        proto.dimension_properties.extend([images.NONE] * len(column.wire_shape))
        proto.float_data.data.extend(np.ravel(value).tolist())
        return
    proto.dimension_properties.extend(CHANNELS_FIRST if column.channels_first else CHANNELS_LAST)
    proto.compression_type = images.PNG
    proto.compressed_data = png.encode(value)
    proto.compressed_channel_mapping.extend(png.mapping(value.shape[2]))
