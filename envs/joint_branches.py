"""Joins several discrete branches to one branch of all their combinations, so that a critic can rate combinations."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from sac.types import Action, Env, Turn


class JointBranches:
    """An Env with one branch, whose choice c means `np.unravel_index(c, branches)`; everything else is unchanged."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self.scene_branches = self._branches = env.spec.branches
        self.spec = replace(env.spec, branches=(math.prod(self._branches),))
        self.n_agents = env.n_agents

    def reset(self, seed: int | None = None) -> Turn:
        return self._joined(self._env.reset(seed))

    def step(self, action: Action) -> Turn:
        parts = joint_parts(self._branches)[action.discrete[:, 0]]
        return self._joined(self._env.step(Action(action.continuous, parts)))

    def _joined(self, turn: Turn) -> Turn:
        ended = replace(turn.ended, mask=joint_mask(turn.ended.mask, self._branches))
        return replace(turn, mask=joint_mask(turn.mask, self._branches), ended=ended)

    def render(self) -> np.ndarray | None:
        return self._env.render()

    def close(self) -> None:
        self._env.close()

    def __getattr__(self, name: str) -> Any:
        if name == "_env":  # absent while this object is unpickled
            raise AttributeError(name)
        return getattr(self._env, name)


def join_branches(env: Env, limit: int) -> Env:
    """`env` with joined branches if it has several and at most `limit` combinations of choices, else `env` itself."""
    branches = env.spec.branches
    return JointBranches(env) if len(branches) > 1 and math.prod(branches) <= limit else env


def joint_choice(discrete: np.ndarray, branches: tuple[int, ...]) -> np.ndarray:
    """The number of the combination [k, 1] of one choice of each branch [k, branches]."""
    return np.ravel_multi_index(tuple(discrete.T), branches).astype(np.int32)[:, None]


@functools.cache
def joint_parts(branches: tuple[int, ...]) -> np.ndarray:
    """The choice of each branch in every combination [product of branches, number of branches] int32."""
    return np.stack(np.unravel_index(np.arange(math.prod(branches)), branches), axis=1).astype(np.int32)


def joint_mask(mask: np.ndarray, branches: tuple[int, ...]) -> np.ndarray:
    """The mask of combinations [k, product of branches] for masks [k, sum of branches]: legal where all parts are."""
    k = len(mask)
    joint = np.ones((k, 1), bool)
    for part in np.split(mask, np.cumsum(branches)[:-1], axis=1):
        joint = (joint[:, :, None] & part[:, None, :]).reshape(k, joint.shape[1] * part.shape[1])
    return joint


def separate_mask(mask: np.ndarray, branches: tuple[int, ...]) -> np.ndarray:
    """The inverse of `joint_mask` [..., sum of branches]: a choice is legal where a legal combination contains it."""
    parts = joint_parts(branches)
    columns = [mask[..., parts[:, b] == c].any(axis=-1) for b, size in enumerate(branches) for c in range(size)]
    return np.stack(columns, axis=-1)
