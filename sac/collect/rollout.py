"""Environment x behaviour -> Steps: keeps what each agent did until its outcome is known. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sac.collect.episode_limit import NO_LIMIT, EpisodeLimit
from sac.timers import Clock
from sac.types import Action, Choice, Env, Spec, Step, Turn, joined, no_endings


class Behaviour(Protocol):
    """Chooses actions; `slots` are the agents' places 0, 1, 2 ... in order of first appearance."""

    state_size: int
    previous_size: int

    def choose(self, slots, obs, mask, previous_action, state) -> Choice: ...


@dataclass
class Episode:
    """One finished episode.

    `complete` is false when it broke off by chance: its agent was lost, or began it late in an iteration that a reset
    ended. What a limit of steps cut is complete.
    """

    slot: int
    total_reward: float
    length: int
    complete: bool
    stream: int = -1  # the agent's id, as in its rows


@dataclass
class RolloutStep:
    """What one turn of the environment brought."""

    step: Step
    episodes: list[Episode] = field(default_factory=list)
    iteration_ended: bool = False
    lost: int = 0  # agents whose episode broke off without a usable last row


class Rollout:
    """Plays an environment for ever; iterate over it for one `RolloutStep` a turn.

    An iteration ends when every agent has finished an episode since it began, or after `max_step_each_iter` turns;
    with `reset_on_iteration` all agents then start anew and what was open is closed as a truncation. Agents that come
    later are waited for too, lost ones are not until they ask again.

    `limit` ends longer episodes as truncations. One agent cannot start anew alone everywhere: it idles then, which is
    no episode, until its environment ends what it was in, or `restart`.
    """

    def __init__(
        self,
        env: Env,
        behaviour: Behaviour,
        *,
        max_step_each_iter: int = -1,
        reset_on_iteration: bool = False,
        seed: int | None = None,
        clock: Clock | None = None,
        limit: EpisodeLimit = NO_LIMIT,
    ):
        self.env, self.behaviour, self.spec = env, behaviour, env.spec
        self.max_turns, self.reset_on_iteration = max_step_each_iter, reset_on_iteration
        self._seed, self.clock, self.limit = seed, clock or Clock(), limit
        self.idle: set[int] = set()  # slots whose episode the limit has ended, and their environment has not
        self._slots = _Slots(env.spec, behaviour)
        self._turn: Turn | None = None
        self._turns = 0  # of this iteration
        self._waiting_for: set[int] = set()  # slots that have not finished an episode in this iteration

    def __iter__(self) -> Iterator[RolloutStep]:
        while True:
            yield self.advance()

    def advance(self) -> RolloutStep:
        """Acts for all that ask, steps the environment, and returns the rows whose outcome is now known."""
        if self._turn is None:
            self._begin()
        slots, turn = self._slots, self._turn
        asking = slots.places(turn.agents)
        with self.clock("act"):
            choice = self.behaviour.choose(asking, turn.obs, turn.mask, slots.previous[asking], slots.state[asking])
        slots.acted(asking, turn, choice)
        if self.idle:
            slots.open[list(self.idle)] = False
        with self.clock("env"):
            turn = self.env.step(Action(choice.action, choice.discrete))

        rows, episodes = self._endings(turn)
        lost = len(turn.lost)
        asking = slots.places(turn.agents)
        known = asking if slots.open[asking].all() else asking[slots.open[asking]]
        if len(known):
            reward = turn.reward if len(known) == len(asking) else turn.reward[slots.open[asking]]
            rows.append(slots.completed(known, reward, np.ones(len(known), np.float32)))
        self._turn = turn
        self._turns += 1
        newcomers = slots.asked(asking, turn)
        too_long = np.flatnonzero(slots.rows >= self.limit.steps)
        if len(too_long):
            self.limit.reached()
            rows += slots.cut(too_long)
            episodes += slots.close(too_long, complete=True)
            self.idle.update(too_long.tolist())
        self._waiting_for.difference_update(e.slot for e in episodes)
        self._waiting_for.update(newcomers)
        ended = (bool(episodes) and not self._waiting_for) or 0 < self.max_turns <= self._turns
        if ended:
            rows += self._next_iteration(episodes)
        return RolloutStep(slots.joined(rows), episodes, ended, lost)

    @property
    def present(self) -> list[int]:
        """Slots of the agents that are there (not lost)."""
        return np.flatnonzero(self._slots.present).tolist()

    def restart(self) -> Step:
        """Starts all agents anew, the idle ones as well; returns rows that close what the others were in."""
        slots = self._slots
        rows = slots.cut(slots.running())
        slots.close(np.arange(len(slots.ids)), complete=False)
        self._begin()
        return slots.joined(rows)

    def _begin(self) -> None:
        self.idle.clear()
        self._turn = self.env.reset(self._seed)
        self._seed = None
        self._slots.asked(self._slots.places(self._turn.agents), self._turn)
        self._count_again()

    def _count_again(self) -> None:
        self._turns = 0
        self._waiting_for = set(self.present)

    def _endings(self, turn: Turn) -> tuple[list[Step], list[Episode]]:
        """Rows and episodes of the agents that ended or were lost."""
        slots, rows, episodes = self._slots, [], []
        if len(turn.ended.agents):
            e = slots.places(turn.ended.agents)
            self.idle.difference_update(e.tolist())
            had_acted = slots.open[e]  # an ending without an action before it (right after a reset) is no episode
            e, end = e[had_acted], turn.ended
            if len(e):
                rows.append(slots.completed(e, end.reward[had_acted], end.discount[had_acted]))
                obs = {name: x[had_acted] for name, x in end.obs.items()}
                rows.append(slots.final(e, obs, end.mask[had_acted], slots.state[e], slots.previous[e]))
                episodes += slots.close(e, complete=True)
        if len(turn.lost):
            lost = slots.places(turn.lost)
            self.idle.difference_update(lost.tolist())
            rows += slots.cut(lost)
            episodes += slots.close(lost, complete=False)
        return rows, episodes

    def _next_iteration(self, episodes: list[Episode]) -> list[Step]:
        slots, rows = self._slots, []
        running = slots.running()
        if self.reset_on_iteration and len(running):
            whole = np.isin(running, list(self._waiting_for))  # they were in it as long as the iteration or themselves
            rows = slots.cut(running)
            episodes += slots.close(running[whole], complete=True) + slots.close(running[~whole], complete=False)
            slots.present[running] = False  # until they ask again
            self._begin()
        self._count_again()
        return rows

    # --- saving

    def state(self):
        """What open episodes need: rows without outcome and the observations that wait for an action."""
        arrays = self._slots.state_arrays()
        own = self.env.state() if self._turn is not None and hasattr(self.env, "state") else None
        waiting_for = sorted(self._waiting_for)
        return arrays, {"turns": self._turns, "waiting_for": waiting_for, "env": own, "begun": self._turn is not None}

    def restore(self, arrays, scalars) -> None:
        """Puts `state()` back: goes on in mid-episode where the environment can, else see `close_restored`."""
        slots = self._slots
        slots.restore(arrays)
        self._turns, self._waiting_for = scalars["turns"], set(scalars["waiting_for"])
        if scalars["env"] is not None and hasattr(self.env, "restore"):
            again = self.env.restore(scalars["env"])
            if not scalars["begun"]:
                return
            self._seed = None  # the restored generator goes on: a later reset must not start it again
            asking = slots.places(again.agents)  # in the order in which the environment will take the actions
            obs = {name: x[asking] for name, x in slots.obs.items()}
            zeros = np.zeros(len(asking), np.float32)
            self._turn = Turn(slots.ids[asking], obs, slots.mask[asking], zeros, no_endings(self.spec))

    def close_restored(self, seed: int | None = None) -> Step | None:
        """After `restore` without the environment's own state: rows that close the open episodes as truncations.

        New ones begin with `seed`.
        """
        if self._turn is not None:
            return None
        self._seed = seed
        return self._closed()

    def break_off(self) -> Step | None:
        """The environment has failed: rows that close the open episodes as truncations, if any are open."""
        self._turn = None
        return self._closed()

    def _closed(self) -> Step | None:
        running = self._slots.running()
        rows = self._slots.cut(running)
        self._slots.close(running, complete=False)
        return self._slots.joined(rows) if rows else None


class _Slots:
    """Columns over agents: the row each one is in the middle of."""

    def __init__(self, spec: Spec, behaviour: Behaviour):
        self.spec = spec
        self._sizes = behaviour.state_size, behaviour.previous_size
        self._place: dict[int, int] = {}  # agent id -> slot
        self._allocate(0)

    def _allocate(self, n: int) -> None:
        spec, (s, p), f32 = self.spec, self._sizes, np.float32
        self.ids = np.zeros(n, np.int64)
        self.obs = {x.name: np.zeros((n, *x.shape), x.dtype) for x in spec.sensors}
        self.mask = np.ones((n, spec.choices), bool)
        self.raw, self.log_prob = np.zeros((n, spec.continuous), f32), np.zeros((n, 2), f32)
        self.discrete = np.zeros((n, len(spec.branches)), np.int32)
        self.state, self.previous = np.zeros((n, s), f32), np.zeros((n, p), f32)
        self.state_before, self.previous_before = np.zeros((n, s), f32), np.zeros((n, p), f32)
        self.open = np.zeros(n, bool)  # has acted and waits for the outcome
        self.waiting = np.zeros(n, bool)  # has an observation and waits for an action
        self.present = np.zeros(n, bool)
        self.rows = np.zeros(n, np.int64)  # completed rows of the episode
        self.total_reward = np.zeros(n, np.float64)

    def _arrays(self) -> dict[str, np.ndarray]:
        own = {k: v for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return own | {f"obs/{k}": v for k, v in self.obs.items()}

    def state_arrays(self) -> dict[str, np.ndarray]:
        return {k: v.copy() for k, v in self._arrays().items()}

    def restore(self, values: dict[str, np.ndarray]) -> None:
        self._allocate(len(values["ids"]))
        for name, array in self._arrays().items():
            array[:] = values[name]
        self._place = {int(agent): slot for slot, agent in enumerate(self.ids)}

    def places(self, agents: np.ndarray) -> np.ndarray:
        """Slots of agent ids [k]; unknown agents get a new one."""
        n = len(self.ids)
        if len(agents) == n and np.array_equal(agents, self.ids):
            return np.arange(n)
        place = self._place
        new = list(dict.fromkeys(int(a) for a in agents if int(a) not in place))
        if new:
            old = self._arrays()
            self._allocate(n + len(new))
            for name, array in self._arrays().items():
                array[:n] = old[name]
            self.ids[n:] = new
            place.update({agent: n + i for i, agent in enumerate(new)})
        return np.array([place[int(a)] for a in agents], np.int64)

    def asked(self, k: np.ndarray, turn: Turn) -> list[int]:
        """These wait for an action now, those in a new episode with a zero state. Returns who was not there before."""
        newcomers = k[~self.present[k]].tolist()
        fresh = k[~self.open[k]]
        if len(fresh):
            self.state[fresh], self.previous[fresh] = 0, 0
            self.rows[fresh], self.total_reward[fresh] = 0, 0
        self.open[k] = False
        self.waiting[k] = self.present[k] = True
        for name, x in turn.obs.items():
            self.obs[name][k] = x
        self.mask[k] = turn.mask
        return newcomers

    def acted(self, k: np.ndarray, turn: Turn, choice: Choice) -> None:
        self.raw[k], self.discrete[k], self.log_prob[k] = choice.raw, choice.discrete, choice.log_prob
        self.open[k], self.waiting[k] = True, False
        if self._sizes[0]:
            self.state_before[k], self.state[k] = self.state[k], choice.state
            self.previous_before[k] = self.previous[k]
            self.previous[k] = np.concatenate([choice.action, self._one_hot(choice.discrete)], axis=-1)

    def _one_hot(self, discrete: np.ndarray) -> np.ndarray:
        parts = [np.eye(size, dtype=np.float32)[discrete[:, i]] for i, size in enumerate(self.spec.branches)]
        return np.concatenate([np.zeros((len(discrete), 0), np.float32), *parts], axis=-1)

    def completed(self, k: np.ndarray, reward: np.ndarray, discount: np.ndarray) -> Step:
        """The rows of k whose outcome has come."""
        self.rows[k] += 1
        self.total_reward[k] += reward
        return Step(
            self.ids[k], {name: x[k] for name, x in self.obs.items()}, self.mask[k], self.raw[k], self.discrete[k],
            self.log_prob[k], self.state_before[k], self.previous_before[k], reward, discount, np.zeros(len(k), bool),
        )  # fmt: skip

    def final(self, k: np.ndarray, obs: dict[str, np.ndarray], mask, state, previous) -> Step:
        """Rows with the final observations of k, and the recurrent state and previous action that came with them."""
        n, spec, f32 = len(k), self.spec, np.float32
        return Step(
            self.ids[k], obs, mask, np.zeros((n, spec.continuous), f32), np.zeros((n, len(spec.branches)), np.int32),
            np.zeros((n, 2), f32), state, previous, np.zeros(n, f32), np.ones(n, f32), np.ones(n, bool),
        )  # fmt: skip

    def cut(self, k: np.ndarray) -> list[Step]:
        """Truncates the episodes of k at their last good observation."""
        k = k[self.rows[k] > 0]
        if not len(k):
            return []
        acted = self.open[k, None]  # what it did last has no outcome: the row is the one before that
        state = np.where(acted, self.state_before[k], self.state[k])
        previous = np.where(acted, self.previous_before[k], self.previous[k])
        return [self.final(k, {name: x[k] for name, x in self.obs.items()}, self.mask[k], state, previous)]

    def close(self, k: np.ndarray, complete: bool) -> list[Episode]:
        columns = k, self.total_reward[k], self.rows[k], self.ids[k]
        rows = zip(*(column.tolist() for column in columns))
        episodes = [Episode(slot, total, length, complete, stream) for slot, total, length, stream in rows]
        self.open[k] = self.waiting[k] = False
        self.rows[k], self.total_reward[k] = 0, 0
        if not complete:
            self.present[k] = False  # until it asks again
        return episodes

    def running(self) -> np.ndarray:
        """Slots in the middle of an episode."""
        return np.flatnonzero(self.open | (self.waiting & (self.rows > 0)))

    def joined(self, steps: list[Step]) -> Step:
        """All rows of a turn as one Step, in order."""
        if steps:
            return joined(steps)
        obs = {name: x[:0] for name, x in self.obs.items()}
        return self.final(np.zeros(0, np.int64), obs, self.mask[:0], self.state[:0], self.previous[:0])
