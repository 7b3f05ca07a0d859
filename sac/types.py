"""The data that all parts of the program exchange: names, shapes and dtypes (NumPy only).

Letters in shapes: k agents of one turn, n candidates for an action, B windows of a batch, T steps of a window,
A continuous actions, C columns (all discrete choices of all branches, side by side), S recurrent state, P previous
action (0 without a recurrent state).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

Value = TypeVar("Value")
Obs = Mapping[str, np.ndarray]
OBS_PREFIX = "obs/"  # begins the column name of a sensor, which may be called like another column


def obs_columns(by_sensor: Mapping[str, Value]) -> dict[str, Value]:
    """The same values by column name: {"obs/<sensor>": value}."""
    return {OBS_PREFIX + name: value for name, value in by_sensor.items()}


def obs_of(by_column: Mapping[str, Value]) -> dict[str, Value]:
    """The values of all sensors' columns by sensor name; other columns are left out."""
    return {n.removeprefix(OBS_PREFIX): value for n, value in by_column.items() if n.startswith(OBS_PREFIX)}


Bound = float | tuple[float, ...]  # for all elements of a sensor, or for each element in row-major order
UINT8_BOUNDS: tuple[Bound, Bound] = (0.0, 255.0)


@dataclass(frozen=True)
class Sensor:
    """One observation of an agent: `shape` is `(n,)` or `(H, W, channels)`.

    `bounds` are the lowest and the highest value, which networks get as 0 and 1. Without bounds, values are not scaled.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    bounds: tuple[Bound, Bound] | None = None  # 0 and 255 by default where `dtype` is uint8

    def __post_init__(self) -> None:
        if self.bounds is None and self.dtype == "uint8":
            object.__setattr__(self, "bounds", UINT8_BOUNDS)

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    @property
    def normalizable(self) -> bool:
        """Whether running statistics are kept of it; pictures are scaled by their bounds instead."""
        return not self.is_image

    @property
    def offset_and_factor(self) -> tuple[Any, Any]:
        """Numbers or arrays [*shape] so that (value - offset) * factor lies in [0, 1]. Needs `bounds`."""
        assert self.bounds is not None
        low, high = self.bounds
        if not isinstance(low, tuple) and not isinstance(high, tuple):
            return low, 1 / (high - low) if high > low else 1.0
        lows, highs = (np.broadcast_to(np.array(b, np.float64), math.prod(self.shape)) for b in (low, high))
        factor = 1 / np.where(highs > lows, highs - lows, 1)  # an element that cannot change stays 0
        return lows.astype(np.float32).reshape(self.shape), factor.astype(np.float32).reshape(self.shape)


@dataclass(frozen=True)
class Spec:
    """What one agent observes and does; the first argument of every network in `nn.py`."""

    sensors: tuple[Sensor, ...]
    continuous: int = 0  # A: continuous actions, each in [-1, 1]
    branches: tuple[int, ...] = ()  # number of choices of each discrete branch
    feature: int = 0  # width F of the features z; known once the representation network exists
    extra: tuple[str, ...] = ()  # names of the sensors that only the prediction model gets

    @property
    def seen(self) -> tuple[Sensor, ...]:
        """The sensors that the representation network gets."""
        return tuple(s for s in self.sensors if s.name not in self.extra)

    @property
    def has_images(self) -> bool:
        return any(sensor.is_image for sensor in self.sensors)

    @property
    def choices(self) -> int:
        """C, the width of an action mask: the choices of all branches side by side."""
        return sum(self.branches)

    @property
    def columns(self) -> int:
        """Width of a critic's output: one column for each discrete choice, or one when there is none."""
        return max(1, self.choices)

    @property
    def action_size(self) -> int:
        """Width of an action as networks get it: A continuous actions and a one-hot vector for each branch."""
        return self.continuous + self.choices

    def with_feature(self, feature: int) -> Spec:
        return replace(self, feature=feature)


class Action(NamedTuple):
    """Actions of k agents as an environment takes them."""

    continuous: np.ndarray  # [k, A] float32 in [-1, 1]
    discrete: np.ndarray  # [k, branches] int32


class Noise(NamedTuple):
    """The random numbers of one step of k agents; each chooses among n candidates."""

    normal: np.ndarray  # [k, n, A] standard normal
    gumbel: np.ndarray  # [k, n, C]
    pick: np.ndarray  # [k, n] Gumbel, for the choice among candidates
    explore: np.ndarray  # [k] uniform, for whether the discrete choice is a random one


class Choice(NamedTuple):
    """The actions that a policy chose for k agents, with their probabilities."""

    raw: np.ndarray  # [k, A] continuous, before the squash
    action: np.ndarray  # [k, A] continuous, in [-1, 1]
    discrete: np.ndarray  # [k, branches]
    log_prob: np.ndarray  # [k, 2] log-probability of the continuous and of the discrete part
    state: np.ndarray  # [k, S] the recurrent state after this step


@dataclass
class Ended:
    """Episodes that have ended, with their final observations."""

    agents: np.ndarray  # [e] int64
    obs: dict[str, np.ndarray]  # {sensor: [e, ...]}
    mask: np.ndarray  # [e, C] bool, true = legal
    reward: np.ndarray  # [e] float32, earned since the agent's last action
    discount: np.ndarray  # [e] float32: 0 = terminated (a true end), 1 = truncated (its value is bootstrapped)


def no_endings(spec: Spec) -> Ended:
    """An Ended without episodes."""
    obs = {s.name: np.zeros((0, *s.shape), s.dtype) for s in spec.sensors}
    nothing = np.zeros(0, np.float32)
    return Ended(np.zeros(0, np.int64), obs, np.zeros((0, spec.choices), bool), nothing, nothing)


@dataclass
class Turn:
    """The answer of an environment to `reset` or `step`: episodes that ended, agents that were lost, agents that ask.

    An agent may be in `ended` and in `agents` of the same turn: the ending belongs to its old episode, the request for
    an action to its new one. `agents` may be empty; the environment is then stepped without actions.
    """

    agents: np.ndarray  # [k] int64, ids of the agents that ask for an action
    obs: dict[str, np.ndarray]  # {sensor: [k, ...]}
    mask: np.ndarray  # [k, C] bool, true = legal
    reward: np.ndarray  # [k] float32, since the agent's last action (no meaning on the first request of an episode)
    ended: Ended
    # [l] int64, ids of agents that are gone without a final observation
    lost: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


class Env(Protocol):
    """A set of agents that act at the same time or in turns; the adapters in `envs` implement it."""

    spec: Spec
    n_agents: int

    def reset(self, seed: int | None = None) -> Turn:
        """Starts a new episode for every agent and drops open ones. `seed` is given at the first call only."""

    def step(self, action: Action) -> Turn:
        """Acts for the agents of the last turn, in the order of its rows."""

    def render(self) -> np.ndarray | None:
        """The current picture [H, W, 3] uint8, or None where the environment draws nothing."""

    def close(self) -> None:
        """Ends all processes and closes all files of the environment; may be called twice."""


class Step(NamedTuple):
    """Rows of streams (one stream = one agent), ready for the replay.

    A row is an observation, the action that was taken there and its outcome. The row after an episode's last action
    holds the final observation: its `last` is true and its action columns mean nothing.
    """

    stream: np.ndarray  # [k] int64
    obs: dict[str, np.ndarray]  # {sensor: [k, ...]}
    mask: np.ndarray  # [k, C] bool
    raw_action: np.ndarray  # [k, A] float32, continuous, before the squash into [-1, 1]
    discrete: np.ndarray  # [k, branches] int32
    log_prob: np.ndarray  # [k, 2] float32: log-probability of the continuous and of the discrete part
    state: np.ndarray  # [k, S] float32, the recurrent state before the action
    previous: np.ndarray  # [k, P] float32, the previous action: continuous in [-1, 1], choices as one-hot
    reward: np.ndarray  # [k] float32
    discount: np.ndarray  # [k] float32: 0 after a true end, else 1
    last: np.ndarray  # [k] bool: whether this is a final observation without an action

    def columns(self) -> dict[str, np.ndarray]:
        """All arrays by the names of stored files and of messages."""
        return _columns(self)

    @classmethod
    def of(cls, columns: Mapping[str, np.ndarray]) -> Step:
        """The Step with these `columns()`; others are left out."""
        return cls(**_fields(cls, columns))


def joined(steps: Sequence[Step]) -> Step:
    """Rows of several Steps (at least one) as one Step, in order."""
    if len(steps) == 1:
        return steps[0]
    obs = {name: np.concatenate([s.obs[name] for s in steps]) for name in steps[0].obs}
    columns = {f: np.concatenate([getattr(s, f) for s in steps]) for f in Step._fields if f != "obs"}
    return Step(obs=obs, **columns)


def rows_after_burn_in(sequence_length: int, n_step: int) -> int:
    """T, the rows of a window after its burn-in: the trained rows and the n - 1 rows that the last returns need."""
    return sequence_length + n_step - 1


def stacked(rows: Sequence[tuple[Step, int]]) -> Step:
    """Single rows (at least one), each a Step and the position of a row in it, as one Step."""
    columns = [step.columns() for step, _ in rows]
    return Step.of({name: np.stack([x[name][i] for x, (_, i) in zip(columns, rows)]) for name in columns[0]})


def loaded_windows(share: float, batch_size: int) -> int:
    """How many windows of a batch, its first ones, come from loaded rows."""
    return round(share * batch_size)


class Batch(NamedTuple):
    """B windows of L = b + T steps from the replay; columns of states have L + 1 rows.

    The first b steps (burn-in) only warm up the recurrent state. Where an episode has fewer steps before the first
    trained row, its oldest row is repeated with valid = 0.
    """

    obs: dict[str, np.ndarray]  # {sensor: [B, L + 1, ...]}
    mask: np.ndarray  # [B, L + 1, C] bool
    previous: np.ndarray  # [B, L + 1, P] float32
    raw_action: np.ndarray  # [B, L, A] float32, continuous, before the squash
    discrete: np.ndarray  # [B, L, branches] int32
    log_prob: np.ndarray  # [B, L, 2] float32
    reward: np.ndarray  # [B, L] float32
    discount: np.ndarray  # [B, L] float32
    valid: np.ndarray  # [B, L] float32: 1 where an action was taken, 0 on final rows and their padding
    state: np.ndarray  # [B, S] float32, stored recurrent state of the first row
    stored: np.ndarray  # [B, S] float32, stored recurrent state of the first trained row
    weight: np.ndarray  # [B] float32, importance-sampling weights; the largest is 1
    # [B] int64, arrival numbers of the first trained rows, for `Replay.update`; hides tuple.index, which nothing calls
    index: np.ndarray  # type: ignore[assignment]

    def columns(self) -> dict[str, np.ndarray]:
        """All arrays by the names of stored files and of messages."""
        return _columns(self)

    @classmethod
    def of(cls, columns: Mapping[str, np.ndarray]) -> Batch:
        """The Batch with these `columns()`; others are left out."""
        return cls(**_fields(cls, columns))


COLUMN_NAMES = {"raw_action": "continuous"}  # of fields whose column has another name, as in older files


def _columns(rows: Step | Batch) -> dict[str, np.ndarray]:
    rest = {COLUMN_NAMES.get(name, name): getattr(rows, name) for name in rows._fields if name != "obs"}
    return obs_columns(rows.obs) | rest


def _fields(cls: type[Step] | type[Batch], columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    rest = {name: columns[COLUMN_NAMES.get(name, name)] for name in cls._fields if name != "obs"}
    return {"obs": obs_of(columns), **rest}
