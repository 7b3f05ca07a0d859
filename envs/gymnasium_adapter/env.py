"""Gymnasium vector environments of any size as a set of agents (`sac.types.Env`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from envs.gymnasium_adapter.action_mask import ActionMask, value_at
from envs.gymnasium_adapter.action_space import ActionSpace
from envs.gymnasium_adapter.env_seeds import independent_seeds, seed_spaces
from envs.gymnasium_adapter.fault_counter import FaultCounter
from envs.gymnasium_adapter.layers import step_limit
from envs.gymnasium_adapter.make import explained
from envs.gymnasium_adapter.mask_method import MASK_METHOD, unknown_mask
from envs.gymnasium_adapter.observation_space import ObservationSpace, named_spaces, part_names
from envs.gymnasium_adapter.own_vector import VectorContract, autoreset_mode
from envs.gymnasium_adapter.reading import DEFAULT_READING, Reading
from envs.gymnasium_adapter.sensor_rows import Arrays, any_sensor, or_at, take
from envs.gymnasium_adapter.workers import close_vector, dead_workers
from sac.errors import UserError
from sac.reset_values import drawn
from sac.screen import ONCE
from sac.types import Action, Ended, Spec, Turn, no_endings

log = logging.getLogger(__name__)


class GymEnv:
    """The n sub-environments of a vector environment as n agents (a `sac.types.Env`); agent i is sub-environment i.

    The metadata of the vector environment names its autoreset mode. Under NEXT_STEP an agent whose episode has ended
    does not ask for an action in that turn, since the step that resets it is no transition. Under SAME_STEP and
    DISABLED it asks at once, in its new episode.

    Args:
      vector: the vector environment; it is closed where this constructor raises.
      name: what messages call the environment; by default the id of its specification.
      reset_options: passed to every reset; a distribution is drawn anew for each episode.
      reading: how observations are read.
      seed: of the first reset, where that is given none.
      single: one sub-environment, which tells the time limit and whether a method returns action masks.

    Raises:
      UserError: a space has no form here, or the vector environment names no autoreset mode.
    """

    max_episode_steps: int | None  # after so many steps the environment ends an episode by itself; None: no such limit

    def __init__(
        self,
        vector: VectorEnv,
        name: str | None = None,
        reset_options: Mapping[str, Any] | None = None,
        reading: Reading = DEFAULT_READING,
        seed: int | None = None,
        single: gymnasium.Env | None = None,
    ) -> None:
        name = name or str(getattr(vector.spec, "id", vector))
        # vector environments that Gymnasium did not put together promise less than its own
        self._gymnasium_made = isinstance(vector.unwrapped, SyncVectorEnv | AsyncVectorEnv)
        self._vector, self._name, self.reading = vector, name, reading
        self._options = dict(reset_options or {})
        self._random = np.random.default_rng(seed)  # for options that are distributions
        self._seed = seed
        self.max_episode_steps = (
            getattr(vector.spec, "max_episode_steps", None) if single is None else step_limit(single)
        )
        try:
            self._mode = autoreset_mode(vector)
            returns_copies = getattr(vector.unwrapped, "copy", False) is True
            self._observations = ObservationSpace(vector.single_observation_space, not returns_copies, reading)
            self._actions = ActionSpace(vector.single_action_space)
            self.spec = Spec(self._observations.sensors, self._actions.continuous, self._actions.branches)
            self._masks = ActionMask(
                vector.single_action_space, self.spec.branches, vector.num_envs, self._observations.mask_width
            )
            if reading.mask and self._observations.mask_width is None and not self._gymnasium_made:
                raise UserError(unknown_mask(reading.mask, name, part_names(vector.single_observation_space)))
            if not self._gymnasium_made:
                self._vector = VectorContract(vector, name)
        except BaseException:
            close_vector(vector)
            raise
        self.n_agents = n = vector.num_envs
        self._all_agents = np.arange(n)
        self._all_agents.flags.writeable = False  # every turn hands out this array
        self._no_endings = no_endings(self.spec)
        self._asking = self._all_agents
        self._resetting = np.zeros(n, bool)  # [n] under NEXT_STEP: the coming step resets these agents
        self._faults = FaultCounter(name, n)
        # other vector environments reset one agent alone only where they never reset agents by themselves
        self._resets_singly = self._gymnasium_made or self._mode is AutoresetMode.DISABLED
        self._remark(single)

    def _remark(self, single: gymnasium.Env | None) -> None:
        """Logs what was made of the spaces, and which part of the environment looks like an action mask."""
        for remark in self._observations.remarks:
            log.warning("%s: %s", self._name, remark, extra=ONCE)
        if self.reading.mask is not None or not self.spec.choices:
            return
        likely = self._observations.likely_mask(self.spec.choices)
        if likely is None and single is not None and single.has_wrapper_attr(MASK_METHOD):
            likely = MASK_METHOD
        if likely is not None:
            log.warning(
                "%s: '%s' looks like a mask of the %d choices; base.action_mask=%s makes it one",
                self._name, likely, self.spec.choices, likely, extra=ONCE,
            )  # fmt: skip

    def reset(self, seed: int | None = None) -> Turn:
        """Starts new episodes everywhere. From a seed each sub-environment gets an independent seed of its own.

        Without a seed the first reset takes the constructor's.
        """
        seed = self._seed if seed is None else seed
        seeds: int | list[int] | None = seed
        self._seed = None
        if seed is not None:
            seed_spaces(self._vector, seed)
            if self._gymnasium_made:
                seeds = independent_seeds(seed, self.n_agents)
        raw, info = self._call(self._vector.reset, seed=seeds, options=self._reset_options())
        obs, mask = self._read(raw, info)
        bad = self._observations.nonfinite(obs)
        if bad:
            agents = any_sensor(bad, self.n_agents)
            self._faults.add(agents, bad)
            obs, mask = self._start_anew(agents, obs, mask)
        self._asking, self._resetting = self._all_agents, np.zeros(self.n_agents, bool)
        return Turn(self._all_agents, obs, mask, np.zeros(self.n_agents, np.float32), self._no_endings)

    def set_reset(self, options: Mapping[str, Any]) -> None:
        """Takes other reset options, from each sub-environment's next episode on."""
        self._options = dict(options)
        if self._gymnasium_made:
            vector: Any = self._vector  # of Gymnasium: it has `call`
            self._call(vector.call, "set_reset_options", self._options)

    def _reset_options(self) -> dict[str, Any]:
        """What a reset gets: distributions are drawn here, unless each sub-environment draws from them itself."""
        return dict(self._options) if self._gymnasium_made else drawn(self._options, self._random)

    def step(self, action: Action) -> Turn:
        """Acts for the agents of the last turn; `Turn` says how endings and losses are reported."""
        raw, reward, terminated, truncated, info = self._call(self._vector.step, self._encode(action))
        obs, mask = self._read(raw, info)
        reward = np.asarray(reward, np.float32)
        done = np.logical_or(terminated, truncated)
        bad = self._observations.nonfinite(obs)
        if not bad and self._asking is self._all_agents and np.isfinite(reward).all() and not done.any():
            self._faults.reset(self._all_agents)
            return Turn(self._all_agents, obs, mask, reward, self._no_endings)
        return self._turn_with_endings(obs, mask, reward, done, np.asarray(terminated, bool), info, bad)

    def _turn_with_endings(
        self, obs: Arrays, mask: np.ndarray, reward: np.ndarray, done: np.ndarray, terminated: np.ndarray, info: Any,
        bad: Arrays,
    ) -> Turn:  # fmt: skip
        """A turn in which an episode ends, a value is not finite or an agent is being reset; all arrays [n, ...]."""
        same_step, acted = self._mode is AutoresetMode.SAME_STEP, ~self._resetting
        bad_obs = any_sensor(bad, self.n_agents)
        over = np.flatnonzero(done & acted)
        last_obs, last_mask = self._last(over, info) if same_step else take(over, obs, mask)
        last_bad, reasons = bad_obs.copy(), dict(bad)
        if same_step:  # where an episode ended, `obs` holds the first observation of the next one already
            bad_finals = self._observations.nonfinite(last_obs)
            last_bad[over] = any_sensor(bad_finals, len(over))
            reasons = {
                name: or_at(bad.get(name), over, bad_finals.get(name), self.n_agents) for name in {**bad, **bad_finals}
            }
        bad_step = acted & (last_bad | ~np.isfinite(reward))

        usable = ~bad_step[over]
        last_obs, last_mask = take(usable, last_obs, last_mask)
        discount = np.where(terminated[over[usable]], np.float32(0), np.float32(1))
        ended = Ended(over[usable], last_obs, last_mask, reward[over[usable]], discount)

        waits = done & acted if self._mode is AutoresetMode.NEXT_STEP else np.zeros_like(done)
        self._faults.reset(acted & ~bad_step)
        first_bad = bad_obs & ~waits & (done | self._resetting)
        self._faults.add(bad_step | first_bad, {**reasons, "reward": acted & ~np.isfinite(reward)})
        renew = ~waits & (bad_obs | (bad_step & ~done))
        if self._mode is AutoresetMode.DISABLED:
            renew |= done
        if renew.any():
            obs, mask = self._start_anew(renew, obs, mask)

        self._resetting = waits
        if not waits.any():
            self._asking = self._all_agents
            return Turn(self._all_agents, obs, mask, reward, ended, np.flatnonzero(bad_step))
        self._asking = np.flatnonzero(~waits)
        obs, mask = take(self._asking, obs, mask)
        return Turn(self._asking, obs, mask, reward[self._asking], ended, np.flatnonzero(bad_step))

    def _last(self, over: np.ndarray, info: Any) -> tuple[Arrays, np.ndarray]:
        """Final observations [e, ...] and masks [e, C], which a same-step autoreset keeps in `info`."""
        if not len(over):
            return self._no_endings.obs, self._no_endings.mask
        raws = [value_at(info, "final_obs", i) for i in over]
        if any(raw is None for raw in raws):
            raise UserError(
                f"'{self._name}' resets in the same step but gives no info['final_obs']; check its autoreset_mode"
            )
        raw = self._observations.stack(raws)
        return self._observations.batch(raw), self._masks.final_rows(info, over, self._observations.mask(raw))

    def _read(self, raw: Any, info: Any) -> tuple[Arrays, np.ndarray]:
        """Observations and masks of all sub-environments."""
        return self._observations.batch(raw), self._masks.rows(info, self._observations.mask(raw))

    def _start_anew(self, agents: np.ndarray, obs: Arrays, mask: np.ndarray) -> tuple[Arrays, np.ndarray]:
        """Resets the agents [n] bool until their first observations are finite; returns all rows with theirs."""
        if not self._resets_singly:
            raise UserError(f"'{self._name}': NaN or infinity, and this environment cannot reset one agent alone")
        obs, mask = dict(obs), mask.copy()
        while agents.any():
            options = {**self._reset_options(), "reset_mask": agents}
            raw, info = self._call(self._vector.reset, options=options)
            fresh, legal = self._read(raw, info)
            for name, value in fresh.items():
                obs[name] = np.where(agents.reshape(-1, *[1] * (value.ndim - 1)), value, obs[name])
            mask[agents] = legal[agents]
            bad = self._observations.nonfinite(fresh)
            agents = agents & any_sensor(bad, self.n_agents)
            self._faults.add(agents, bad)
        return obs, mask

    @property
    def action_bounds(self) -> np.ndarray:
        """Lowest and highest value of each continuous action in the environment's own units [2, A]."""
        return self._actions.bounds

    @property
    def faults(self) -> int:
        """The number of steps refused so far because of NaN or infinity."""
        return self._faults.total

    @property
    def empty_masks(self) -> int:
        """The number of masks so far that allowed no choice of a branch; all choices counted as legal then."""
        return self._masks.empty

    @property
    def observation_bounds(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Lowest and highest value of each number of the vectors that are Boxes, {sensor: (low, high)}."""
        boxes = named_spaces(self._vector.single_observation_space)
        return {n: (x.low, x.high) for n, x in boxes if isinstance(x, spaces.Box) and len(x.shape) == 1}

    def _encode(self, action: Action) -> Any:
        if self._asking is self._all_agents:
            return self._actions.encode(action)
        n = self.n_agents  # the agents that did not ask are being reset, and their action is ignored
        continuous = np.zeros((n, self.spec.continuous), np.float32)
        discrete = np.zeros((n, len(self.spec.branches)), np.int32)
        continuous[self._asking], discrete[self._asking] = action.continuous, action.discrete
        return self._actions.encode(Action(continuous, discrete))

    def _call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (EOFError, ConnectionError) as error:
            gone = ", ".join(dead_workers(self._vector)) or "a worker"
            raise UserError(f"'{self._name}': {gone} died without a word") from error

    def render(self) -> np.ndarray | None:
        """The picture [H, W, 3] of the first sub-environment; None where it draws nothing or in its own window."""
        if self._vector.render_mode is None:
            return None
        inner = self._vector.unwrapped
        with explained(self._name):
            frame = inner.envs[0].render() if isinstance(inner, SyncVectorEnv) else self._call(self._vector.render)
        while isinstance(frame, list | tuple):  # one of each environment, or all since the last call
            frame = frame[0 if isinstance(frame, tuple) else -1] if len(frame) else None
        return frame if isinstance(frame, np.ndarray) else None

    @property
    def render_fps(self) -> float | None:
        """Steps per second at which its pictures show real time; None where its metadata name no rate."""
        metadata = self._vector.metadata or {}
        fps = metadata.get("render_fps", metadata.get("video.frames_per_second"))  # the latter in old environments
        return float(fps) if isinstance(fps, int | float | np.number) and 0 < fps < np.inf else None

    def close(self) -> None:
        """Ends every sub-environment and worker process; may be called twice."""
        close_vector(self._vector)
