"""Plays an environment with a behaviour and yields Steps for the replay. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from sac.collect.agent_slots import AgentSlots, Episode
from sac.collect.episode_limit import NO_LIMIT, EpisodeLimit
from sac.timers import Clock
from sac.types import Action, Choice, Env, Obs, Step, Turn, joined, no_endings


class Behaviour(Protocol):
    """Chooses actions for k agents.

    `slots` [k] number the agents 0, 1, 2, ... in the order in which they first appeared.
    """

    state_size: int
    previous_size: int

    def choose(
        self, slots: np.ndarray, obs: Obs, mask: np.ndarray, previous_action: np.ndarray, state: np.ndarray
    ) -> Choice: ...


@dataclass
class RolloutStep:
    """The result of one turn of the environment."""

    step: Step
    episodes: list[Episode] = field(default_factory=list)
    iteration_ended: bool = False
    lost: int = 0  # agents whose episode broke off without a usable last row


class Rollout:
    """Plays an environment without end; iterating over it yields one `RolloutStep` for each turn.

    An iteration ends when every agent has finished an episode since it began, or after `max_step_each_iter` turns
    (-1: no limit). Agents that appear later must finish an episode too; lost agents are not waited for until they ask
    again. With `reset_on_iteration` all agents start anew at the end of an iteration, and open episodes are closed as
    truncations.

    `limit` ends longer episodes as truncations. Most environments cannot restart one agent alone, so this agent is
    idle, outside of any episode, until the environment ends its episode or `restart` is called.
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
        self.idle: set[int] = set()  # slots whose episode `limit` has ended and the environment has not
        self._slots = AgentSlots(env.spec, behaviour.state_size, behaviour.previous_size)
        self._turn: Turn | None = None
        self._turns = 0  # of this iteration
        self._unfinished: set[int] = set()  # slots that have not finished an episode in this iteration

    def __iter__(self) -> Iterator[RolloutStep]:
        while True:
            yield self.advance()

    def advance(self) -> RolloutStep:
        """Acts for all agents that ask, steps the environment, and returns the rows whose outcome is now known."""
        turn = self._turn if self._turn is not None else self._begin()
        turn = self._act(turn)
        rows, episodes = self._endings(turn)
        lost = len(turn.lost)
        asking = self._slots.slots_of(turn.agents)
        rows += self._outcomes(asking, turn)
        self._turn = turn
        self._turns += 1
        arrived = self._slots.observe(asking, turn)
        rows += self._apply_limit(episodes)
        self._unfinished.difference_update(e.slot for e in episodes)
        self._unfinished.update(arrived)
        ended = (bool(episodes) and not self._unfinished) or 0 < self.max_turns <= self._turns
        if ended:
            rows += self._next_iteration(episodes)
        return RolloutStep(self._slots.joined(rows), episodes, ended, lost)

    @property
    def present(self) -> list[int]:
        """Slots of the agents that are there (not lost)."""
        return np.flatnonzero(self._slots.present).tolist()

    def restart(self) -> Step:
        """Starts all agents anew, the idle ones as well; returns final rows of the episodes that were open."""
        slots = self._slots
        rows = slots.truncated_rows(slots.running())
        slots.close(np.arange(len(slots.ids)), complete=False)
        self._begin()
        return slots.joined(rows)

    def _begin(self) -> Turn:
        """Resets the environment; its first turn."""
        self.idle.clear()
        turn = self._turn = self.env.reset(self._seed)
        self._seed = None
        self._slots.observe(self._slots.slots_of(turn.agents), turn)
        self._begin_iteration()
        return turn

    def _begin_iteration(self) -> None:
        self._turns = 0
        self._unfinished = set(self.present)

    def _act(self, turn: Turn) -> Turn:
        """Acts for the agents of a turn; the environment's next turn."""
        slots = self._slots
        asking = slots.slots_of(turn.agents)
        with self.clock("act"):
            choice = self.behaviour.choose(asking, turn.obs, turn.mask, slots.previous[asking], slots.state[asking])
        slots.act(asking, choice)
        if self.idle:
            slots.open[list(self.idle)] = False
        with self.clock("env"):
            return self.env.step(Action(choice.action, choice.discrete))

    def _endings(self, turn: Turn) -> tuple[list[Step], list[Episode]]:
        """Rows and episodes of the agents that ended or were lost."""
        slots, end = self._slots, turn.ended
        rows: list[Step] = []
        episodes: list[Episode] = []
        if len(end.agents):
            k = slots.slots_of(end.agents)
            self.idle.difference_update(k.tolist())
            acted = slots.open[k]  # an ending before the first action, right after a reset, is no episode
            k = k[acted]
            if len(k):
                rows.append(slots.completed_rows(k, end.reward[acted], end.discount[acted]))
                obs = {name: x[acted] for name, x in end.obs.items()}
                rows.append(slots.final_rows(k, obs, end.mask[acted], slots.state[k], slots.previous[k]))
                episodes += slots.close(k, complete=True)
        if len(turn.lost):
            lost = slots.slots_of(turn.lost)
            self.idle.difference_update(lost.tolist())
            rows += slots.truncated_rows(lost)
            episodes += slots.close(lost, complete=False)
        return rows, episodes

    def _outcomes(self, asking: np.ndarray, turn: Turn) -> list[Step]:
        """Rows of the agents that ask again within their episode; their rewards have come."""
        waits = self._slots.open[asking]
        if not waits.any():
            return []
        known, reward = (asking, turn.reward) if waits.all() else (asking[waits], turn.reward[waits])
        return [self._slots.completed_rows(known, reward, np.ones(len(known), np.float32))]

    def _apply_limit(self, episodes: list[Episode]) -> list[Step]:
        """Final rows of the episodes that are longer than the limit; adds these to `episodes`."""
        slots = self._slots
        too_long = np.flatnonzero(slots.rows >= self.limit.steps)
        if not len(too_long):
            return []
        self.limit.reached()
        rows = slots.truncated_rows(too_long)
        episodes += slots.close(too_long, complete=True)
        self.idle.update(too_long.tolist())
        return rows

    def _next_iteration(self, episodes: list[Episode]) -> list[Step]:
        """Begins an iteration; the final rows of the episodes that a reset closes. Adds these to `episodes`."""
        slots, running = self._slots, self._slots.running()
        rows: list[Step] = []
        if self.reset_on_iteration and len(running):
            whole = np.isin(running, list(self._unfinished))  # their episode began with the iteration or with them
            rows = slots.truncated_rows(running)
            episodes += slots.close(running[whole], complete=True) + slots.close(running[~whole], complete=False)
            slots.present[running] = False  # until they ask again
            self._begin()
        self._begin_iteration()
        return rows

    # --- saving

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What open episodes need: rows without outcome and the observations that wait for an action."""
        own = self.env.state() if self._turn is not None and hasattr(self.env, "state") else None
        scalars = {
            "turns": self._turns,
            "waiting_for": sorted(self._unfinished),
            "env": own,
            "begun": self._turn is not None,
        }
        return self._slots.state_arrays(), scalars

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None:
        """Puts `state()` back: goes on in mid-episode where the environment can, else see `close_restored`."""
        slots = self._slots
        slots.restore(arrays)
        self._turns, self._unfinished = scalars["turns"], set(scalars["waiting_for"])
        if scalars["env"] is not None and hasattr(self.env, "restore"):
            turn = self.env.restore(scalars["env"])
            if not scalars["begun"]:
                return
            self._seed = None  # the restored generator goes on: a later reset must not seed it again
            asking = slots.slots_of(turn.agents)  # in the order in which the environment will take the actions
            obs = {name: x[asking] for name, x in slots.obs.items()}
            zeros = np.zeros(len(asking), np.float32)
            self._turn = Turn(slots.ids[asking], obs, slots.mask[asking], zeros, no_endings(self.spec))

    def close_restored(self, seed: int | None = None) -> Step | None:
        """After `restore` without the environment's own state: rows that close the open episodes as truncations.

        The next episodes begin with a reset with `seed`.
        """
        if self._turn is not None:
            return None
        self._seed = seed
        return self._close_running()

    def break_off(self) -> Step | None:
        """The environment has failed: rows that close the open episodes as truncations, if any are open."""
        self._turn = None
        return self._close_running()

    def _close_running(self) -> Step | None:
        running = self._slots.running()
        rows = self._slots.truncated_rows(running)
        self._slots.close(running, complete=False)
        return joined(rows) if rows else None
