"""Tiny environments with a known optimum, and the loop that trains on them: the real pieces, put together by hand."""

from __future__ import annotations

from itertools import islice

import numpy as np

from sac.agent.agent import Agent
from sac.backend import seed_everything
from sac.collect.exploration import NEVER, Exploring, Greedy, WhiteNoise
from sac.collect.rollout import Rollout
from sac.evaluation.episodes import evaluate
from sac.extras.extra import Extras
from sac.nets.contract import Builder, build_networks
from sac.ops.discrete_choice import ByPolicy
from sac.replay import Prioritized, RateLimiter, Replay
from sac.replay.running_stats import RunningStats
from sac.timers import Clock
from sac.training.learner import Learner
from sac.types import Action, Ended, Sensor, Spec, Turn
from tests.agent.agent_kit import hyperparameters

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
        obs, one = {"x": self.x.astype(self.spec.sensors[0].dtype)}, np.ones(over.sum(), np.float32)
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


class Paid(Signal):
    """Signal that pays 1 a step for listening: the best value is 1 / (1 - gamma)."""

    def answer(self, action):
        return 1 + super().answer(action)


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


class Promise(Lesson):
    """A room in which choice 2 pays 1, and a way to the same room that forbids it there: only the mask tells.

    Half of the episodes begin in the room. The others begin at the door: choice 0 pays 0.5 and ends, the rest leads
    into the room, where the legal choices pay nothing. The optimum is 0.75; who values what is forbidden gets 0.5.
    """

    spec = Spec((Sensor("x", (2,)),), 0, (3,))

    def reset(self, seed=None) -> Turn:
        self.inside = self.came = np.zeros(self.n_agents, bool)
        return super().reset(seed)

    def ask(self):
        self.inside = self.came | (self.rng.random(self.n_agents) < 0.5)
        self.x = np.eye(2)[self.inside.astype(int)]
        self.mask = np.ones((self.n_agents, 3), bool)
        self.mask[self.came, 2] = False

    def step(self, action: Action) -> Turn:
        d, obs = action.discrete[:, 0], np.eye(2, dtype=np.float32)[self.inside.astype(int)]
        reward = np.where(self.inside, 1.0 * (d == 2), 0.5 * (d == 0)).astype(np.float32)
        over = self.inside | (d == 0)
        self.came = ~over
        self.ask()
        turn = self._turn(reward, over)
        turn.ended.obs["x"], turn.ended.discount = obs[over], np.zeros(over.sum(), np.float32)
        return turn


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


class Recall(Lesson):
    """A cue at the first step, `delay` steps of nothing, then the question: 1 for the cue's answer, 0 for the other.

    Without memory the best is 0.5. The cue is gone for `delay` steps: whoever learns it must send errors as far back.
    """

    spec = Spec((Sensor("x", (2,)),), 0, (2,))

    def __init__(self, n_agents: int = 8, delay: int = 20):
        super().__init__(n_agents)
        self.limit = delay + 1

    def reset(self, seed=None) -> Turn:
        self.cue = np.zeros(self.n_agents, int)
        return super().reset(seed)

    def ask(self):
        begins = self.t == 0
        self.cue[begins] = self.rng.integers(0, 2, begins.sum())
        self.x = np.stack([np.where(begins, 2 * self.cue - 1, 0), self.t == self.limit - 1], -1)

    def answer(self, action):
        return (self.t == self.limit - 1) & (action.discrete[:, 0] == self.cue)


class Corridor(Lesson):
    """`length` cells in a row; the way begins at the left wall and 1 waits at the right end, nothing anywhere else.

    An episode ends there or is cut after `limit` steps; a random walk seldom comes so far.
    """

    limit, length = 40, 20

    def __init__(self, n_agents: int = 4, length: int = 20, limit: int = 40):
        super().__init__(n_agents)
        self.length, self.limit, self.reached = length, limit, 0
        self.spec = Spec((Sensor("x", (length,)),), 0, (2,))

    def reset(self, seed=None) -> Turn:
        self.place = np.zeros(self.n_agents, int)
        return super().reset(seed)

    def ask(self):
        self.x = np.eye(self.length)[self.place]

    def step(self, action: Action) -> Turn:
        self.place = np.maximum(self.place + np.where(action.discrete[:, 0] == 1, 1, -1), 0)
        there = self.place == self.length - 1
        self.t += 1
        over = there | (self.t >= self.limit)
        self.reached += int(there.sum())
        final, reward = np.eye(self.length, dtype=np.float32)[self.place[over]], there.astype(np.float32)
        self.place[over], self.t[over] = 0, 0
        self.ask()
        turn = self._turn(reward, over)
        turn.ended.obs["x"], turn.ended.discount = final, 1 - there[over].astype(np.float32)
        return turn


class Tempting(Corridor):
    """A corridor in which each step back pays a little at once; which choice leads onward differs from cell to cell.

    So neither a policy that prefers one choice everywhere nor one that takes what pays first gets to the end (Osband et
    al., arXiv:1908.03568, "deep sea"). For the first `shut` steps of all agents the last door turns back whoever comes:
    nobody gets there by the luck of nets that do not know yet what pays first.
    """

    def __init__(self, n_agents: int = 4, length: int = 8, limit: int = 16, bait: float = 0.02, shut: int = 0):
        super().__init__(n_agents, length, limit)
        self.bait, self.shut, self.onward = bait, shut, np.random.default_rng(0).integers(0, 2, length)
        self.steps = 0

    def step(self, action: Action) -> Turn:
        on = action.discrete[:, 0] == self.onward[self.place]
        paid = self.bait * ~on
        if self.steps < self.shut:
            on &= self.place < self.length - 2
        self.steps += self.n_agents
        turn = super().step(action._replace(discrete=on[:, None].astype(int)))
        turn.reward += paid
        turn.ended.reward += paid[turn.ended.agents]
        return turn


class Lottery(Lesson):
    """Eight tickets, each of which pays a draw around 0: whatever critics promise is over-estimated."""

    spec = Spec((Sensor("x", (4,)),), 0, (8,))

    def ask(self):
        self.x = self.rng.normal(size=(self.n_agents, 4))

    def answer(self, action):
        return self.rng.normal(size=self.n_agents)


class Keys(Lesson):
    """512 keys, none of which pays; `tried` holds those that were tried. Whoever searches well takes others first."""

    spec = Spec((Sensor("x", (1,)),), 0, (512,))

    def __init__(self, n_agents: int = 4):
        super().__init__(n_agents)
        self.tried = set()

    def ask(self):
        self.x = np.ones((self.n_agents, 1))

    def answer(self, action):
        self.tried.update(action.discrete[:, 0].tolist())
        return np.zeros(self.n_agents)


class Wheel(Lesson):
    """A wheel turns at a hidden speed, and at the last step the question is how fast: -(a - speed)^2, silence -0.33.

    Its place is seen, as cosine and sine; one place says nothing of the speed, two of them do. Nothing is asked before
    `silent` turns have passed: rewards come late. `earned` holds the rewards of all questions, the learning curve.
    """

    def __init__(self, n_agents: int = 8, silent: int = 0):
        super().__init__(n_agents)
        self.spec = Spec((Sensor("x", (3,)),), 1)
        self.silent, self.turns, self.earned = silent, 0, []

    def reset(self, seed=None) -> Turn:
        self.angle, self.speed = np.zeros(self.n_agents), np.zeros(self.n_agents)
        return super().reset(seed)

    def ask(self):
        begins = self.t == 0
        self.angle += 2.5 * self.speed
        self.speed[begins] = self.rng.uniform(-1, 1, begins.sum())
        self.angle[begins] = self.rng.uniform(-np.pi, np.pi, begins.sum())
        self.asked = (self.t == self.limit - 1) & (self.turns >= self.silent)
        self.x = np.stack([np.cos(self.angle), np.sin(self.angle), self.asked], -1)
        self.turns += 1

    def answer(self, action):
        reward = np.where(self.asked, -((action.continuous[:, 0] - self.speed) ** 2), 0)
        self.earned += list(reward[self.asked])
        return reward


class Symbols(Lesson):
    """One of four symbols in a picture of 12 x 12 pixels, in noise: a point for naming it, random 0.25."""

    spec = Spec((Sensor("x", (12, 12, 1), "uint8"),), 0, (4,))
    shapes = np.array([
        [[0, 0, 1, 0, 0]] * 5,
        [[0] * 5, [0] * 5, [1] * 5, [0] * 5, [0] * 5],
        np.eye(5),
        np.eye(5)[::-1],
    ])  # fmt: skip

    def ask(self):
        n, rng = self.n_agents, self.rng
        self.which = rng.integers(0, 4, n)
        self.x = rng.integers(0, 60, (n, 12, 12, 1))
        for i, (top, left) in enumerate(rng.integers(0, 8, (n, 2))):
            self.x[i, top : top + 5, left : left + 5, 0] += (150 * self.shapes[self.which[i]]).astype(int)

    def answer(self, action):
        return action.discrete[:, 0] == self.which


class Scaled(Signal):
    """Signal whose two numbers come in units of a thousand, far from zero, and of a thousandth."""

    def ask(self):
        super().ask()
        self.said, self.x = self.x, self.x * [1e3, 1e-3] + [5e3, 0]

    def answer(self, action):
        return -((action.continuous - self.said) ** 2).sum(-1)


def train(
    env, steps: int, *, seed: int = 0, random_steps: int = 200, updates_per_step: float = 0.5, batch_size: int = 64,
    ensemble: int = 2,
    networks=None, kwargs=None, module=None, choice=ByPolicy, extras=None, epsilon=NEVER, **hyper,
) -> Agent:  # fmt: skip
    """Collects `steps` transitions and learns from them; returns the agent.

    `networks` are options of build_networks, `extras(build, spec)` makes the optional parts.
    """
    numbers = hyperparameters(**{"learning_rate": 3e-3, "gamma": 0.9, "tau": 0.02, **hyper})
    seed_everything(seed)
    build, networks = Builder(module, {**HIDDEN, **(kwargs or {})}), networks or {}
    nets = build_networks(env.spec, build, ensemble, **networks)
    agent = Agent(nets, numbers, seed, choice, extras=extras and Extras(extras(build, nets.spec)))
    noise = WhiteNoise(env.spec, seed, agent.candidates)
    rollout = Rollout(env, Exploring(agent, noise, random_steps, epsilon), seed=seed)
    sampler = Prioritized(
        1 << 14, alpha=0.6, beta=0.4, beta_increment_per_sampling=1e-3, td_error_min=0.01, td_error_max=1.0
    )
    replay = Replay(env.spec, agent.state_size, sampler, steps=numbers.steps, burn_in=numbers.burn_in_step, seed=seed)
    limiter, stats = RateLimiter(updates_per_step, 200, 4, env.n_agents), RunningStats(nets.normalizer.sensors)
    learner = Learner(agent, replay, limiter, batch_size, Clock(), stats=stats)
    for experience in islice(rollout, steps // env.n_agents):
        limiter.add_steps(replay.add(experience.step), replay.ready)
        stats.add(experience.step)
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


def value(agent: Agent, env) -> float:
    """What the critics promise for the best choices in an environment's first states, in the mean of nets."""
    turn = env.reset(seed=12345)
    empty = np.zeros((len(turn.agents), 0), np.float32)
    z, _ = agent.nets.rep(agent.nets.observe(turn.obs), empty, empty)
    action = Greedy(agent).choose(turn.agents, turn.obs, turn.mask, empty, empty).action
    q = np.mean([critic(z, action) for critic in agent.nets.critics], axis=0)
    return float(q.max(-1).mean())
