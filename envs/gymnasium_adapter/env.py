"""Gymnasium vector environments of any size as a set of agents (`sac.types.Env`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from envs.gymnasium_adapter.action_mask import ActionMask, value_at
from envs.gymnasium_adapter.action_space import ActionSpace
from envs.gymnasium_adapter.env_seeds import seed_spaces, seeded_construction, spread
from envs.gymnasium_adapter.fault_counter import FaultCounter
from envs.gymnasium_adapter.layers import step_limit
from envs.gymnasium_adapter.make import env_maker, explained
from envs.gymnasium_adapter.observation_space import ObservationSpace, part_names
from envs.gymnasium_adapter.own_vector import VectorContract, autoreset_mode, make_own_vector
from envs.gymnasium_adapter.reading import AS_IT_COMES, Reading
from envs.gymnasium_adapter.sub_env import unknown_mask
from envs.gymnasium_adapter.vector import close_vector, dead_workers, make_vector
from sac.errors import UserError
from sac.log_once import ONCE
from sac.types import Action, Ended, Spec, Turn

log = logging.getLogger(__name__)
MASK_METHOD = "action_masks"  # by the convention of sb3-contrib
Rows = dict[str, np.ndarray]  # {sensor: [n, ...]}


class GymEnv:
    """n sub-environments, one agent each; agent i is sub-environment i.

    Under the autoreset mode NEXT_STEP an agent whose episode has ended does not ask for an action in that turn: the
    step that resets it is no transition. Under the other modes it asks at once, in its new episode.
    `max_episode_steps`: after so many steps the environment ends an episode by itself; None where it has no such limit.
    `seed` is that of what the constructors draw, and of the first reset. Raises UserError for unknown ids, missing
    packages and spaces without a form here.
    """

    def __init__(
        self,
        env_id: str,
        n_agents: int = 1,
        vectorization: str = "sync",
        reset_options: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        autoreset: AutoresetMode | str = AutoresetMode.SAME_STEP,
        reading: Reading = AS_IT_COMES,
        reward_weights: Sequence[float] = (),
        seed: int | None = None,
    ) -> None:
        if n_agents < 1 or vectorization not in ("sync", "async", "own"):
            raise UserError(f"n_agents={n_agents} (at least 1), vectorization={vectorization} (sync, async or own)")
        if vectorization == "own":
            with seeded_construction(seed):
                vector = make_own_vector(env_id, n_agents, render_mode, env_kwargs or {})
            self._attach(vector, None, reset_options, env_id, reading)
            self._seed = seed
            self._remark()
            return
        maker = env_maker(env_id, render_mode, env_kwargs or {}, reset_options or {}, reward_weights, reading.mask)
        makers = [maker] * n_agents
        if seed is not None:
            makers = [replace(maker, seed=own) for own in spread(seed, n_agents)]
        probe, shared_memory = None, True
        if vectorization == "async":  # spaces are looked at before any process starts
            probe = makers[0]()
            limit = step_limit(probe)
            try:
                shared_memory = not ObservationSpace(probe.observation_space, reading=reading).has_text
                ActionSpace(probe.action_space)
            finally:
                probe.close()
        vector = make_vector(makers, vectorization, AutoresetMode(autoreset), shared_memory)
        self._attach(vector, AutoresetMode(autoreset), reset_options, env_id, reading)
        self._seed = seed
        self.max_episode_steps = limit if vectorization == "async" else step_limit(vector.envs[0])
        self._remark(probe or vector.envs[0])

    @classmethod
    def from_vector(
        cls,
        vector: VectorEnv,
        autoreset: AutoresetMode | str | None = None,
        reset_options: Mapping[str, Any] | None = None,
        reading: Reading = AS_IT_COMES,
    ) -> GymEnv:
        """Takes a ready vector environment; its metadata says how it resets unless `autoreset` does."""
        env = cls.__new__(cls)
        env._attach(vector, autoreset, reset_options, str(getattr(vector.spec, "id", vector)), reading)
        env._remark()
        return env

    def _attach(
        self, vector: VectorEnv, autoreset: AutoresetMode | str | None, reset_options: Mapping[str, Any] | None,
        name: str, reading: Reading,
    ) -> None:  # fmt: skip
        # others (envs with a vector form of their own) promise less than those that Gymnasium puts together
        self._gymnasium_made = isinstance(vector.unwrapped, SyncVectorEnv | AsyncVectorEnv)
        self._vector, self._name, self.reading = vector, name, reading
        self._options = dict(reset_options or {})
        self.max_episode_steps: int | None = getattr(vector.spec, "max_episode_steps", None)
        self._seed: int | None = None  # of the first reset, where that is given none
        try:
            self._mode = autoreset_mode(vector) if autoreset is None else AutoresetMode(autoreset)
            own_arrays = getattr(vector.unwrapped, "copy", False) is True
            self._observations = ObservationSpace(vector.single_observation_space, not own_arrays, reading)
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
        self._everyone = np.arange(n)
        self._everyone.flags.writeable = False  # handed out again and again
        self._nobody = Ended(
            np.zeros(0, np.int64),
            {s.name: np.zeros((0, *s.shape), s.dtype) for s in self.spec.sensors},
            self._masks.all_legal[:0],
            np.zeros(0, np.float32),
            np.zeros(0, np.float32),
        )
        self._asking = self._everyone
        self._resetting = np.zeros(n, bool)  # NEXT_STEP only: the coming step is their reset
        self._strikes = FaultCounter(name, n)
        # environments with a vector form of their own promise resets one by one only where they never reset themselves
        self._resets_singly = self._gymnasium_made or self._mode is AutoresetMode.DISABLED

    def _remark(self, single: gymnasium.Env | None = None) -> None:
        """Tells the user what was made of the spaces, and what looks like a mask. `single`: one sub-environment."""
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
        """Starts new episodes everywhere. A seed is spread to one independent seed a sub-environment.

        Without one the first reset takes the constructor's.
        """
        seeds = seed = self._seed if seed is None else seed
        self._seed = None
        if seed is not None:
            seed_spaces(self._vector, seed)
            if self._gymnasium_made:
                seeds = spread(seed, self.n_agents)
        raw, info = self._call(self._vector.reset, seed=seeds, options=dict(self._options))
        obs, mask = self._read(raw, info)
        bad = self._observations.nonfinite(obs)
        if bad:
            who = _any(bad, self.n_agents)
            self._strikes.add(who, bad)
            obs, mask = self._start_anew(who, obs, mask)
        self._asking, self._resetting = self._everyone, np.zeros(self.n_agents, bool)
        return Turn(self._everyone, obs, mask, np.zeros(self.n_agents, np.float32), self._nobody)

    def step(self, action: Action) -> Turn:
        """Acts for the agents of the last turn; `Turn` says how endings and losses are told."""
        raw, reward, terminated, truncated, info = self._call(self._vector.step, self._encode(action))
        obs, mask = self._read(raw, info)
        reward = np.asarray(reward, np.float32)
        done = np.logical_or(terminated, truncated)
        bad = self._observations.nonfinite(obs)
        if not bad and self._asking is self._everyone and np.isfinite(reward).all() and not done.any():
            self._strikes.reset(self._everyone)
            return Turn(self._everyone, obs, mask, reward, self._nobody)
        return self._border(obs, mask, reward, done, np.asarray(terminated, bool), info, bad)

    def _border(self, obs: Rows, mask, reward, done, terminated, info, bad: Rows) -> Turn:
        """A turn in which an episode ends, a value is unusable or an agent is being reset; all arrays [n, ...]."""
        same_step, acted = self._mode is AutoresetMode.SAME_STEP, ~self._resetting
        bad_obs = _any(bad, self.n_agents)
        over = np.flatnonzero(done & acted)
        last_obs, last_mask = self._last(over, info) if same_step else _take(over, obs, mask)
        last_bad, reasons = bad_obs.copy(), dict(bad)
        if same_step:  # there the rows of ended episodes are already their successors' first
            finals = self._observations.nonfinite(last_obs)
            last_bad[over] = _any(finals, len(over))
            reasons = {name: _or_at(bad.get(name), over, finals.get(name), self.n_agents) for name in {**bad, **finals}}
        bad_step = acted & (last_bad | ~np.isfinite(reward))

        whole = ~bad_step[over]
        last_obs, last_mask = _take(whole, last_obs, last_mask)
        discount = np.where(terminated[over[whole]], np.float32(0), np.float32(1))
        ended = Ended(over[whole], last_obs, last_mask, reward[over[whole]], discount)

        waits = done & acted if self._mode is AutoresetMode.NEXT_STEP else np.zeros_like(done)
        self._strikes.reset(acted & ~bad_step)
        first_bad = bad_obs & ~waits & (done | self._resetting)
        self._strikes.add(bad_step | first_bad, {**reasons, "reward": acted & ~np.isfinite(reward)})
        renew = ~waits & (bad_obs | (bad_step & ~done))
        if self._mode is AutoresetMode.DISABLED:
            renew |= done
        if renew.any():
            obs, mask = self._start_anew(renew, obs, mask)

        self._resetting = waits
        if not waits.any():
            self._asking = self._everyone
            return Turn(self._everyone, obs, mask, reward, ended, np.flatnonzero(bad_step))
        self._asking = np.flatnonzero(~waits)
        obs, mask = _take(self._asking, obs, mask)
        return Turn(self._asking, obs, mask, reward[self._asking], ended, np.flatnonzero(bad_step))

    def _last(self, over: np.ndarray, info: Any) -> tuple[Rows, np.ndarray]:
        """Final observations and masks that a same-step autoreset keeps in `info`."""
        if not len(over):
            return self._nobody.obs, self._nobody.mask
        raws = [value_at(info, "final_obs", i) for i in over]
        if any(raw is None for raw in raws):
            raise UserError(
                f"'{self._name}' resets in the same step but gives no info['final_obs']; check its autoreset_mode"
            )
        raw = self._observations.together(raws)
        return self._observations.batch(raw), self._masks.final_rows(info, over, self._observations.mask(raw))

    def _read(self, raw: Any, info: Any) -> tuple[Rows, np.ndarray]:
        """Observations and masks of all sub-environments."""
        return self._observations.batch(raw), self._masks.rows(info, self._observations.mask(raw))

    def _start_anew(self, who: np.ndarray, obs: Rows, mask: np.ndarray) -> tuple[Rows, np.ndarray]:
        """Resets some sub-environments until their first observations are usable."""
        if not self._resets_singly:
            raise UserError(f"'{self._name}': NaN or infinity, and this environment cannot reset one agent alone")
        obs, mask = dict(obs), mask.copy()
        while who.any():
            options = {**self._options, "reset_mask": who}
            raw, info = self._call(self._vector.reset, options=options)
            fresh, legal = self._read(raw, info)
            for name, value in fresh.items():
                obs[name] = np.where(who.reshape(-1, *[1] * (value.ndim - 1)), value, obs[name])
            mask[who] = legal[who]
            bad = self._observations.nonfinite(fresh)
            who = who & _any(bad, self.n_agents)
            self._strikes.add(who, bad)
        return obs, mask

    @property
    def action_bounds(self) -> np.ndarray:
        """Lowest and highest value of each continuous action in the environment's own units [2, A]."""
        return self._actions.bounds

    def _encode(self, action: Action) -> Any:
        if self._asking is self._everyone:
            return self._actions.encode(action)
        n = self.n_agents  # those that did not ask are being reset: their action is ignored
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
        """The picture [H, W, 3] of the first sub-environment, or None (no render mode, or a window of its own)."""
        if self._vector.render_mode is None:
            return None
        inner = self._vector.unwrapped
        with explained(self._name):
            frame = inner.envs[0].render() if isinstance(inner, SyncVectorEnv) else self._call(self._vector.render)
        while isinstance(frame, list | tuple):  # one an environment, or all since the last call
            frame = frame[0 if isinstance(frame, tuple) else -1] if len(frame) else None
        return frame if isinstance(frame, np.ndarray) else None

    @property
    def render_fps(self) -> float | None:
        """Steps a second at which its pictures look as they should, where its metadata say so."""
        metadata = self._vector.metadata or {}
        fps = metadata.get("render_fps", metadata.get("video.frames_per_second"))  # the latter in old environments
        return float(fps) if isinstance(fps, int | float | np.number) and 0 < fps < np.inf else None

    def close(self) -> None:
        """Ends every sub-environment and worker process; may be called twice."""
        close_vector(self._vector)


def _any(rows: Rows, n: int) -> np.ndarray:
    """[n] bool: true where any sensor's row is marked."""
    return np.logical_or.reduce(list(rows.values())) if rows else np.zeros(n, bool)


def _take(rows: np.ndarray, obs: Rows, mask: np.ndarray) -> tuple[Rows, np.ndarray]:
    return {name: value[rows] for name, value in obs.items()}, mask[rows]


def _or_at(base: np.ndarray | None, at: np.ndarray, marks: np.ndarray | None, n: int) -> np.ndarray:
    """`base` [n] with `marks` set at the rows `at`."""
    out = np.zeros(n, bool) if base is None else base.copy()
    if marks is not None:
        out[at] |= marks
    return out
