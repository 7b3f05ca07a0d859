"""Tiny environments with a known optimum, and the loop that trains on them: the real pieces, put together by hand."""

from __future__ import annotations

from itertools import islice

import numpy as np

from sac.agent import Agent
from sac.backend import seed_everything
from sac.behaviour import Exploring, Greedy, WhiteNoise
from sac.clock import Clock
from sac.evaluation import evaluate
from sac.hyper import Hyper
from sac.learner import Learner
from sac.nets.contract import build_networks
from sac.replay import Limiter, Prioritized, Replay
from sac.rollout import Rollout
from sac.types import Action, Ended, Sensor, Spec, Turn

HIDDEN = {"ModelPolicy": {"hidden": [32, 32]}, "ModelQ": {"hidden": [32, 32]}}


class Lesson:
    """n agents that all see a fresh question at each step and are rewarded for the answer; truncated after `limit`."""

    spec: Spec
    limit = 8

    def __init__(self, n_agents: int = 8):
        self.n_agents = n_agents
        self.rng = np.random.default_rng(0)

    def ask(self) -> None:
        """Draws `self.x` [k, F] and `self.mask` [k, C]."""
        raise NotImplementedError

    def answer(self, action: Action) -> np.ndarray:
        """Rewards [k]."""
        raise NotImplementedError

    def reset(self, seed=None) -> Turn:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.t = np.zeros(self.n_agents, int)
        self.mask = np.ones((self.n_agents, self.spec.choices), bool)
        self.ask()
        return self._turn(np.zeros(self.n_agents, np.float32), np.zeros(self.n_agents, bool))

    def step(self, action: Action) -> Turn:
        reward = self.answer(action).astype(np.float32)
        self.t += 1
        over = self.t >= self.limit
        self.t[over] = 0
        self.ask()
        return self._turn(reward, over)

    def _turn(self, reward, over) -> Turn:
        obs, one = {"x": self.x.astype(np.float32)}, np.ones(over.sum(), np.float32)
        ended = Ended(np.flatnonzero(over), {"x": obs["x"][over]}, self.mask[over], reward[over], one)
        return Turn(np.arange(self.n_agents), obs, self.mask.copy(), reward, ended)

    def render(self):
        return None

    def close(self):
        pass


class Signal(Lesson):
    """Say what you see: reward -|a - x|^2, optimum 0; a uniform random answer gets -1.1, silence -0.43."""

    spec = Spec((Sensor("x", (2,)),), 2)

    def ask(self):
        self.x = self.rng.uniform(-0.8, 0.8, (self.n_agents, 2))

    def answer(self, action):
        return -((action.continuous - self.x) ** 2).sum(-1)


class TwoQuestions(Lesson):
    """A point for each branch that answers its question: 1 on average of both, a random answer gets 0.42."""

    spec = Spec((Sensor("x", (2,)),), 0, (3, 2))

    def ask(self):
        self.x = self.rng.uniform(-1, 1, (self.n_agents, 2))

    def answer(self, action):
        right = np.stack([np.digitize(self.x[:, 0], [-1 / 3, 1 / 3]), self.x[:, 1] > 0], -1)
        return (action.discrete == right).mean(-1)


class Together(TwoQuestions):
    """A point for two equal choices where x is positive, for two different ones elsewhere; a random answer gets 0.5.

    No sum of a value for each branch expresses this: it needs one joint choice.
    """

    spec = Spec((Sensor("x", (2,)),), 0, (2, 2))

    def answer(self, action):
        return (action.discrete[:, 0] == action.discrete[:, 1]) == (self.x[:, 0] > 0)


class Hybrid(Lesson):
    """Choose the channel that x names and say its value on it: 1 - |a - x|^2 there, 0 elsewhere; optimum 1."""

    spec = Spec((Sensor("x", (2,)),), 1, (3,))

    def ask(self):
        self.x = self.rng.uniform(-0.9, 0.9, (self.n_agents, 2))

    def answer(self, action):
        channel = np.digitize(self.x[:, 0], [-0.3, 0.3])
        value = 1 - (action.continuous[:, 0] - self.x[:, 1]) ** 2
        return np.where(action.discrete[:, 0] == channel, value, 0)


class Forbidden(Lesson):
    """Choice i pays x_i, and what pays most is forbidden; the optimum, the best legal x, is told by `best`."""

    spec = Spec((Sensor("x", (4,)),), 0, (4,))
    best = 0.2  # mean of the second largest of four uniform numbers in [-1, 1]

    def ask(self):
        self.x = self.rng.uniform(-1, 1, (self.n_agents, 4))
        self.mask = np.arange(4) != self.x.argmax(-1)[:, None]

    def answer(self, action):
        rows = np.arange(self.n_agents)
        assert self.mask[rows, action.discrete[:, 0]].all()
        return self.x[rows, action.discrete[:, 0]]


class Detour(Lesson):
    """Take 0.5 and end, or go on to two gates, each of which pays 0.5 at the right choice and -1 at the wrong one.

    The optimum 1 goes on; whoever passes the gates at random had better take 0.5 at once.
    """

    spec = Spec((Sensor("x", (3,)),), 0, (2,))

    def reset(self, seed=None) -> Turn:
        self.place = np.zeros(self.n_agents, int)
        return super().reset(seed)

    def ask(self):
        self.x = np.eye(3)[np.minimum(self.place, 2)]

    def step(self, action: Action) -> Turn:
        d, place = action.discrete[:, 0], self.place
        reward = np.where(place == 0, 0.5 * (d == 0), np.where(d == place % 2, 0.5, -1)).astype(np.float32)
        over = ((place == 0) & (d == 0)) | (place == 2)
        self.place = np.where(over, 0, place + 1)
        final = np.eye(3, dtype=np.float32)[place[over]]
        self.ask()
        turn = self._turn(reward, over)
        turn.ended.obs["x"], turn.ended.discount = final, np.zeros(over.sum(), np.float32)
        return turn


def train(env, steps: int, *, seed: int = 0, random_steps: int = 200, updates_per_step: float = 0.5, **hyper) -> Agent:
    """Collects `steps` transitions and learns from them; returns the agent."""
    hyper = Hyper(**{"learning_rate": 3e-3, "gamma": 0.9, "tau": 0.02, **hyper})
    seed_everything(seed)
    agent = Agent(build_networks(env.spec, None, HIDDEN, 2), hyper, seed)
    rollout = Rollout(env, Exploring(agent, WhiteNoise(env.spec, seed), random_steps), seed=seed)
    sampler = Prioritized(
        1 << 14, alpha=0.6, beta=0.4, beta_increment_per_sampling=1e-3, td_error_min=0.01, td_error_max=1.0
    )
    replay = Replay(env.spec, 0, sampler, steps=hyper.steps, seed=seed)
    limiter = Limiter(updates_per_step, 200, 4, env.n_agents)
    learner = Learner(agent, replay, limiter, 64, Clock())
    for experience in islice(rollout, steps // env.n_agents):
        limiter.earn(replay.add(experience.step), replay.ready)
        learner.work()
    return agent


def score(agent: Agent, env, episodes: int = 32) -> float:
    """Mean reward of a step under the greedy policy."""
    env.reset(seed=12345)
    played = evaluate(env, Greedy(agent), episodes)
    return sum(e.total_reward for e in played) / sum(e.length for e in played)


def mean_return(agent: Agent, env, episodes: int = 32) -> float:
    """Mean return of an episode under the greedy policy."""
    env.reset(seed=12345)
    return float(np.mean([e.total_reward for e in evaluate(env, Greedy(agent), episodes)]))
