"""Writes a policy as a SavedModel of TensorFlow, or as NumPy arrays with a player that needs nothing else."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from envs.joint_branches import joint_parts
from sac.agent import Agent
from sac.agent.plain_acting import is_plain
from sac.backend import tf
from sac.errors import UserError
from sac.export import numpy_player
from sac.export.policy_module import PolicyModule
from sac.files import replacing
from sac.nets.normalizer import CLIP_STANDARD_DEVIATIONS, Normalizer
from sac.runs.scene_file import SceneLayout
from sac.types import Sensor

SIGNATURE = "serving_default"


def write_saved_model(module: PolicyModule, folder: Path) -> None:
    """Writes the module as the signature `serving_default`. Raises UserError where the folder cannot be written."""
    function = module.function().get_concrete_function()
    holder = tf.Module()
    holder.variables_of_policy = list(function.graph.variables)  # a SavedModel holds those that it finds as attributes
    try:
        tf.saved_model.save(holder, str(folder), signatures={SIGNATURE: function})
    except (OSError, tf.errors.OpError) as error:
        why = getattr(error, "strerror", None) or getattr(error, "message", None) or error
        raise UserError(f"cannot write {folder}: {why}") from error


def write_numpy(agent: Agent, scene: SceneLayout, path: Path) -> Path:
    """Writes the weights to `path` and the player beside it; returns the player's path.

    Raises UserError when the networks are not plain, or the disk refuses.
    """
    if not is_plain(agent.nets, agent.choice, agent.extras):
        raise UserError(
            "--format numpy takes the default networks without pictures, memory and sac.discrete_dqn_like only: "
            "use --format onnx or savedmodel"
        )
    player = path.with_name("numpy_player.py")
    try:
        with replacing(path) as new, new.open("wb") as file:
            np.savez(file, allow_pickle=False, **_arrays(agent, scene))
        shutil.copyfile(numpy_player.__file__, player)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return player


def _arrays(agent: Agent, scene: SceneLayout) -> dict[str, np.ndarray]:
    """All that numpy_player.Policy reads."""
    spec, columns, start = agent.spec, list[int](), 0
    scaling: list[tuple[np.ndarray, ...]] = []
    for sensor in spec.sensors:
        size = math.prod(sensor.shape)
        if sensor in spec.seen:
            columns += range(start, start + size)
            scaling.append(tuple(np.broadcast_to(np.ravel(x), size) for x in _scaling(sensor, agent.nets.normalizer)))
        start += size
    offset, factor, limit = (np.concatenate(parts).astype(np.float32) for parts in zip(*scaling))
    low, high = scene.action_bounds or ((-1.0,) * spec.continuous, (1.0,) * spec.continuous)
    layers = agent.nets.policy.body.stack
    arrays = {f"kernel_{i}": np.array(layer.kernel) for i, layer in enumerate(layers)}
    arrays |= {f"bias_{i}": np.array(layer.bias) for i, layer in enumerate(layers)}
    parts = joint_parts(scene.branches) if scene.joined else np.zeros((0, 0), np.int32)
    starts = np.cumsum([0, *scene.branches])[:-1].astype(int)
    return arrays | {
        "layers": np.array(len(layers)),
        "columns": np.array(columns),
        "offset": offset,
        "factor": factor,
        "limit": limit,
        "continuous": np.array(spec.continuous),
        "branches": np.array(spec.branches, np.int32),
        "low": np.array(low),
        "high": np.array(high),
        "parts": parts,
        "parts_columns": parts + starts if len(parts) else parts,
    }


def _scaling(sensor: Sensor, normalizer: Normalizer) -> tuple[Any, Any, Any]:
    """Offset, factor and limit: networks get (x - offset) * factor, clipped to +-limit."""
    if sensor.name in normalizer.names:
        i = normalizer.names.index(sensor.name)
        return np.array(normalizer.mean[i]), np.array(normalizer.scale[i]), CLIP_STANDARD_DEVIATIONS
    return (*((0.0, 1.0) if sensor.bounds is None else sensor.offset_and_factor), np.inf)
