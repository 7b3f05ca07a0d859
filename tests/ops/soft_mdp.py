"""A small soft MDP with exact values, and all windows of it with their probabilities (NumPy, float64)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

ALPHA = 0.4
GAMMA = 0.8
STATES, ACTIONS = 3, 3


@dataclass
class SoftMDP:
    """Rewards and discounts [S, A], transitions [S, A, S]. One pair is a true end: its discount is 0.

    `alpha` is the price of entropy in the values; 0 leaves the rewards alone.
    """

    reward: np.ndarray
    discount: np.ndarray
    transition: np.ndarray
    alpha: float = ALPHA

    @classmethod
    def make(cls, seed: int) -> SoftMDP:
        rng = np.random.default_rng(seed)
        discount = np.ones((STATES, ACTIONS))
        discount[1, 2] = 0.0
        return cls(rng.normal(size=(STATES, ACTIONS)), discount, rng.dirichlet(np.full(STATES, 0.7), (STATES, ACTIONS)))

    def value(self, q, pi):
        """V(s) = E_pi[Q] + alpha H(pi). [S]"""
        return (pi * (q - self.alpha * np.log(pi))).sum(-1)

    def backup(self, value):
        """r + gamma d E[V(s')]. [S] -> [S, A]"""
        return self.reward + GAMMA * self.discount * (self.transition @ value)

    def q_of(self, pi):
        """Q^pi [S, A]."""
        q = np.zeros((STATES, ACTIONS))
        for _ in range(400):
            q = self.backup(self.value(q, pi))
        return q

    def optimal(self):
        """Q* and softmax(Q* / alpha)."""
        q = np.zeros((STATES, ACTIONS))
        for _ in range(400):
            q = self.backup(self.alpha * np.log(np.exp(q / self.alpha).sum(-1)))
        return q, softmax(q / self.alpha)


@dataclass
class Windows:
    """Every window of n steps from every (s_0, a_0): states [W, n + 1], actions [W, n], probability under mu [W]."""

    state: np.ndarray
    action: np.ndarray
    probability: np.ndarray
    valid: np.ndarray

    @classmethod
    def all(cls, mdp: SoftMDP, mu, n: int, cut_from: int | None = None) -> Windows:
        """Windows of state `cut_from` are truncated after two steps: what follows is a final row and its padding."""
        states = itertools.product(range(STATES), repeat=n + 1)
        pairs = list(itertools.product(states, itertools.product(range(ACTIONS), repeat=n)))
        s, a = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
        probability = np.ones(len(s))
        for i in range(n):
            probability *= mdp.transition[s[:, i], a[:, i], s[:, i + 1]]
            if i:
                probability *= mu[s[:, i], a[:, i]]
        alive = np.cumprod(mdp.discount[s[:, :-1], a], axis=1)
        valid = np.concatenate([np.ones((len(s), 1)), alive[:, :-1]], axis=1)
        if cut_from is not None:
            valid[s[:, 0] == cut_from, 2:] = 0
        return cls(s, a, probability, valid)

    def columns(self, mdp: SoftMDP, value, pi, mu, q=None) -> dict[str, np.ndarray]:
        """Arguments of the targets. Entries without a meaning are NaN, so that using one is noticed."""
        s, a, gone = self.state[:, :-1], self.action, self.valid == 0
        log_ratio = np.log(pi / mu)[s, a]
        soft_reward = -mdp.alpha * np.log(pi)[s, a]
        columns = {
            "reward": np.where(gone, np.nan, mdp.reward[s, a]),
            "discount": np.where(gone, 1.0, mdp.discount[s, a]),
            "valid": self.valid,
            "value": np.where(gone, np.nan, value[self.state[:, 1:]]),
            "log_ratio": np.where(gone, np.nan, log_ratio)[:, 1:],
        }
        if q is None:
            columns["soft_reward"] = np.where(gone, np.nan, soft_reward)[:, 1:]
        else:
            columns["stored_q"] = np.where(gone, np.nan, q[s, a])[:, 1:]
        return {name: x.astype(np.float32) for name, x in columns.items()}

    def expectation(self, target) -> np.ndarray:
        """Mean target of every (s_0, a_0) [S, A]."""
        mean = np.zeros((STATES, ACTIONS))
        np.add.at(mean, (self.state[:, 0], self.action[:, 0]), self.probability * np.asarray(target)[:, 0])
        return mean


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def policy(seed: int):
    """A random policy [S, A] in which no action is rare."""
    return softmax(np.random.default_rng(seed).normal(size=(STATES, ACTIONS)))
