"""Plays an environment for a short while, to see what it does and how fast: with random actions, and with the agent."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sac.collect.exploration import EDGE
from sac.collect.rollout import Behaviour, Rollout, RolloutStep
from sac.doctor.audit import Recording
from sac.types import Action, Choice, Env, Obs, Spec, Step, joined

MAX_SECONDS = 30.0  # of one rehearsal, however slow the environment is


class RandomActions:
    """Uniform actions over the legal ones, without a network."""

    state_size = previous_size = 0

    def __init__(self, spec: Spec, seed: int):
        self.spec, self._random = spec, np.random.default_rng(seed)

    def choose(
        self, slots: np.ndarray, obs: Obs, mask: np.ndarray, previous_action: np.ndarray, state: np.ndarray
    ) -> Choice:
        k = len(slots)
        action = self._random.uniform(EDGE - 1, 1 - EDGE, (k, self.spec.continuous)).astype(np.float32)
        scores = np.where(mask, self._random.random(mask.shape), -1.0)
        starts = np.cumsum([0, *self.spec.branches])
        parts = [scores[:, a:b].argmax(axis=1) for a, b in itertools.pairwise(starts)]
        discrete = np.stack(parts, axis=1).astype(np.int32) if parts else np.zeros((k, 0), np.int32)
        return Choice(np.arctanh(action), action, discrete, np.zeros((k, 2), np.float32), state)


class Rehearsal:
    """Rows of so many steps, or of MAX_SECONDS, and the rate at which they came."""

    def __init__(self, env: Env, behaviour: Behaviour, steps: int, seed: int | None = None):
        self.env, self.spec = env, env.spec
        self._steps: list[Step] = []
        self.lost = self.transitions = 0
        self.first_reset_seconds = 0.0
        rollout = Rollout(env, behaviour, seed=seed)
        began = time.perf_counter()
        self._take(rollout.advance())
        self.first_reset_seconds = time.perf_counter() - began
        began, before = time.perf_counter(), self.transitions
        while self.transitions < steps and time.perf_counter() - began < MAX_SECONDS:
            self._take(rollout.advance())
        self.rate = (self.transitions - before) / max(1e-9, time.perf_counter() - began)  # transitions a second

    def _take(self, found: RolloutStep) -> None:
        if len(found.step.last):
            self._steps.append(found.step)
        self.transitions += int((~found.step.last).sum())
        self.lost += found.lost

    @property
    def chunks(self) -> list[Step]:
        """The rows in the order of their time, as they came."""
        return self._steps

    def recording(self, normalised: bool) -> Recording:
        """What the audit looks at. Raises ValueError when not one row has come."""
        if not self._steps:
            raise ValueError("the environment has brought no row")
        rows = joined(self._steps)
        return Recording(
            self.spec, rows, self.env.n_agents, self.lost, int(getattr(self.env, "faults", 0)),
            len(np.unique(rows.stream)), normalised, int(getattr(self.env, "empty_masks", 0)),
            getattr(self.env, "observation_bounds", {}),
        )  # fmt: skip


def at_both_ends(env: Env, turns: int = 6) -> None:
    """Steps with the largest and the smallest continuous actions; what the environment raises is passed on."""
    turn, sides = env.reset(), itertools.cycle((1.0, -1.0))
    for side in itertools.islice(sides, turns):
        k = len(turn.agents)
        starts = np.cumsum([0, *env.spec.branches])
        parts = [turn.mask[:, a:b].argmax(axis=1) for a, b in itertools.pairwise(starts)]
        discrete = np.stack(parts, axis=1).astype(np.int32) if parts else np.zeros((k, 0), np.int32)
        turn = env.step(Action(np.full((k, env.spec.continuous), side, np.float32), discrete))


def observed(env: Env, seed: int, turns: int) -> list[dict[str, np.ndarray]]:
    """The observations of the first turns under actions that depend on the seed only."""
    behaviour, turn, seen = RandomActions(env.spec, seed), env.reset(seed), []
    for _ in range(turns):
        seen.append({name: np.array(x) for name, x in turn.obs.items()})
        nothing = np.zeros((len(turn.agents), 0), np.float32)
        choice = behaviour.choose(np.arange(len(turn.agents)), turn.obs, turn.mask, nothing, nothing)
        turn = env.step(Action(choice.action, choice.discrete))
    return seen


def seconds_of_update(agent: Any, replay: Any, batch_size: int, calls: int, repeats: int = 5) -> float:
    """Wall time of one update, in calls of `calls` updates; the first call compiles and is not counted."""
    taken = []
    for _ in range(repeats + 1):
        batches = replay.sample(batch_size, calls)
        began = time.perf_counter()
        agent.update(batches)
        taken.append((time.perf_counter() - began) / calls)
    return float(np.median(taken[1:]))


def in_words(spec: Spec, sizes: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """The rows of the table of sensors and actions: kind, name, shape, values."""
    for sensor in spec.sensors:
        bounds = "" if sensor.bounds is None else _bounds(sensor.bounds)
        kind = "picture" if sensor.is_image else "vector"
        yield kind, sensor.name, " x ".join(map(str, sensor.shape)), f"{sensor.dtype} {bounds}".strip()
    if spec.continuous:
        low_high = sizes.get("action_bounds")
        limits = "[-1, 1]" if low_high is None else _bounds((tuple(low_high[0]), tuple(low_high[1])))
        yield "action", "continuous", str(spec.continuous), f"in {limits}"
    own = tuple(sizes.get("scene_branches") or spec.branches)
    if own:
        joint = "" if own == spec.branches else f", one joint choice of {spec.branches[0]}"
        yield "action", "discrete", " x ".join(map(str, own)), f"choices of each branch{joint}"


def _bounds(sides: Iterable[Any]) -> str:
    low, high = (np.unique(np.ravel(side)) for side in sides)
    one = len(low) == len(high) == 1
    return f"[{low[0]:.4g}, {high[0]:.4g}]" if one else f"[{low.min():.4g} ..., {high.max():.4g} ...]"
