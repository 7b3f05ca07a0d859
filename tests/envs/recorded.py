"""Minari datasets made on the spot, and what was recorded, episode by episode."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import gymnasium
import numpy as np


@dataclass
class Recorded:
    """One episode as it was played."""

    observations: list = field(default_factory=list)
    actions: list = field(default_factory=list)
    rewards: list = field(default_factory=list)
    terminations: list = field(default_factory=list)
    truncations: list = field(default_factory=list)


def play(env: gymnasium.Env, episodes: int, seed: int = 0) -> list[Recorded]:
    """Random episodes, each until its end."""
    env.action_space.seed(seed)
    played = []
    for number in range(episodes):
        observation, _ = env.reset(seed=seed + number)
        one = Recorded([observation])
        while not (one.terminations and (one.terminations[-1] or one.truncations[-1])):
            action = env.action_space.sample()
            observation, reward, terminated, truncated, _ = env.step(action)
            one.observations.append(observation)
            one.actions.append(action)
            one.rewards.append(float(reward))
            one.terminations.append(terminated)
            one.truncations.append(truncated)
        played.append(one)
    return played


def columns(values: list, space: gymnasium.Space):
    """A list of values as Minari keeps them: arrays, nested like the space."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {key: columns([v[key] for v in values], part) for key, part in space.spaces.items()}
    if isinstance(space, gymnasium.spaces.Tuple):
        return tuple(columns([v[i] for v in values], part) for i, part in enumerate(space.spaces))
    return np.array(values)


def write(dataset_id: str, env: gymnasium.Env, episodes: list[Recorded], **more) -> None:
    """Into MINARI_DATASETS_PATH, `more` as Minari takes it. (Its DataCollector would do the same, but needs JAX.)"""
    import minari
    from minari.data_collector.episode_buffer import EpisodeBuffer

    buffers = [
        EpisodeBuffer(
            observations=columns(e.observations, env.observation_space), actions=columns(e.actions, env.action_space),
            rewards=e.rewards, terminations=e.terminations, truncations=e.truncations,
        )
        for e in episodes
    ]  # fmt: skip
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    with warnings.catch_warnings():  # it asks for author, licence ...
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(dataset_id, buffers, env=env.spec and env.spec.id, **spaces, **more)
