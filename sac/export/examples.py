"""Observations on which an exported policy is compared with the run's own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.joint_branches import joint_parts, separate_mask
from sac.agent import Agent
from sac.collect.exploration import Greedy
from sac.errors import UserError
from sac.export.checker import Examples
from sac.runs.checkpoint import Checkpoints
from sac.runs.scene_file import SceneLayout
from sac.types import Sensor, obs_of

OBSERVATIONS = 1_000
STEPS_WITH_MEMORY = 50  # of each agent, where the policy has a memory


def examples_of(agent: Agent, scene: SceneLayout, checkpoints: Checkpoints) -> Examples:
    """OBSERVATIONS rows of the run's memory (random numbers where it kept none) and the agent's actions there."""
    columns, source = _recorded(checkpoints, scene)
    steps = STEPS_WITH_MEMORY if agent.state_size else 1
    agents = OBSERVATIONS // steps
    rows = {name: x.reshape(steps, agents, *x.shape[1:]) for name, x in obs_of(columns).items()}
    masks = columns["mask"].reshape(steps, agents, -1)
    actions, choices, memory = _greedy(agent, rows, masks)
    low, high = (np.array(side) for side in scene.action_bounds or ((-1.0,), (1.0,)))
    half = (high - low) / 2
    return Examples(
        obs=[_as_input(rows[s.name], s, scene.shapes[i]) for i, s in enumerate(scene.spec.sensors)],
        masks=(separate_mask(masks, scene.branches) if scene.joined else masks).astype(np.float32),
        continuous=low + (actions + 1) * half,
        discrete=joint_parts(scene.branches)[choices[..., 0]] if scene.joined else choices,
        half_range=np.where(half > 0, half, 1.0),
        memory=memory,
        source=source,
    )


def _recorded(checkpoints: Checkpoints, scene: SceneLayout) -> tuple[dict[str, np.ndarray], str]:
    """Columns `obs/<sensor>` and `mask` with OBSERVATIONS rows, and words that say where they come from."""
    try:
        saved, arrays, _ = checkpoints.newest_with("replay")
    except UserError:
        arrays = {"last": np.zeros(0)}
    if not len(arrays["last"]):
        return _random(scene), f"{OBSERVATIONS:,} random observations (the run keeps no memory)"
    chosen = np.linspace(0, len(arrays["last"]) - 1, OBSERVATIONS).astype(np.int64)
    columns = {name: x[chosen] for name, x in arrays.items() if name.startswith("obs/") or name == "mask"}
    columns.setdefault("mask", np.zeros((OBSERVATIONS, 0), bool))  # is not saved where its width is 0
    return columns, f"{OBSERVATIONS:,} observations in the memory of {saved.path.name}"


def _random(scene: SceneLayout) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)

    def values(sensor: Sensor) -> np.ndarray:
        shape = OBSERVATIONS, *sensor.shape
        return rng.integers(0, 256, shape, np.uint8) if sensor.dtype == "uint8" else rng.normal(size=shape).astype("f")

    columns = {f"obs/{sensor.name}": values(sensor) for sensor in scene.spec.sensors}
    return columns | {"mask": np.ones((OBSERVATIONS, scene.spec.choices), bool)}


def _greedy(
    agent: Agent, obs: Mapping[str, np.ndarray], masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The agent's deterministic actions [T, N, A], choices [T, N, branches] and memories [T, N, M] after each step."""
    steps, agents = masks.shape[:2]
    greedy, slots = Greedy(agent), np.arange(agents)
    previous = np.zeros((agents, agent.previous_size), np.float32)
    state = np.zeros((agents, agent.state_size), np.float32)
    actions, choices, memories = [], [], []
    for t in range(steps):
        chosen = greedy.choose(slots, {name: x[t] for name, x in obs.items()}, masks[t], previous, state)
        actions.append(chosen.action)
        choices.append(chosen.discrete)
        state = chosen.state
        if agent.previous_size:
            previous = np.concatenate([chosen.action, _one_hot(chosen.discrete, agent.spec.branches)], axis=1)
        memories.append(np.concatenate([state, previous], axis=1))
    return np.stack(actions), np.stack(choices), np.stack(memories)


def _one_hot(choices: np.ndarray, branches: tuple[int, ...]) -> np.ndarray:
    parts = [np.eye(size, dtype=np.float32)[choices[:, i]] for i, size in enumerate(branches)]
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(choices), 0), np.float32)


def _as_input(x: np.ndarray, sensor: Sensor, shape: tuple[int, ...]) -> np.ndarray:
    """Recorded observations [T, N, ...] in the layout and units of the contract."""
    if sensor.is_image:
        x = np.moveaxis(x, -1, -3)
        return (x / np.float32(255)).astype(np.float32) if sensor.dtype == "uint8" else x.astype(np.float32)
    return x.reshape(*x.shape[:2], *shape).astype(np.float32)
