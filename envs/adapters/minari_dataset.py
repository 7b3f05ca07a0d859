"""Minari datasets (episodes on disk) -> Steps for the replay, in the form that the Gymnasium adapter gives them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from envs.adapters.action_mask import ActionMask
from envs.adapters.action_space import ActionSpace
from envs.adapters.joint_branches import joint_choice, joint_mask
from envs.adapters.observation_space import ObservationSpace
from envs.adapters.reading import AS_IT_COMES, Reading
from sac.errors import UserError
from sac.types import Sensor, Spec, Step

log = logging.getLogger(__name__)
CHUNK = 4096  # rows of a Step, at most
UNREADABLE = (OSError, ValueError, KeyError, AssertionError)  # what Minari raises for files that were spoilt
EDGE = 1 - 1e-6  # the squash reaches +-1 at infinity only: recorded actions stay this far inside


class MinariEpisodes:
    """Episodes of one dataset as Steps of a single stream, each with its final observation: none is left open.

    `bounds` [2, A] are those of the environment's continuous actions where it has some, `reading` is how its
    observations are read. Raises UserError when the package, the dataset or a fit to `spec` is missing. Nothing is
    downloaded.
    """

    def __init__(
        self, dataset_id: str, spec: Spec, bounds: np.ndarray | None = None, reading: Reading | None = None
    ) -> None:
        self.name, self.spec = dataset_id, spec
        self._dataset = _open(dataset_id)
        self._observations = ObservationSpace(self._dataset.observation_space, reading=reading or AS_IT_COMES)
        self._actions = ActionSpace(self._dataset.action_space)
        width = self._observations.mask_width
        self._masks = ActionMask(self._dataset.action_space, self._actions.branches, 0, width)
        self._check(bounds)

    def __len__(self) -> int:
        """Rows, final ones included."""
        return self._dataset.total_steps + self._dataset.total_episodes

    def steps(self, capacity: int) -> Iterator[Step]:
        """The newest episodes that fill `capacity` rows, oldest first, in Steps of at most so many rows."""
        skipped = 0
        for episode in self._episodes(capacity):
            try:
                rows = self._rows(episode) if len(episode.rewards) else None
            except UNREADABLE as error:
                raise _unreadable(self.name, error) from error
            if rows is None:
                skipped += 1
                continue
            for begin in range(0, len(rows["last"]), min(CHUNK, capacity)):
                part = slice(begin, begin + min(CHUNK, capacity))
                obs = {name: x[part] for name, x in rows["obs"].items()}
                yield Step(**{name: obs if name == "obs" else rows[name][part] for name in Step._fields})
        if skipped:
            log.warning("%s: %d episodes with a NaN, an infinity or no step were left out", self.name, skipped)

    def _episodes(self, capacity: int) -> Iterator[Any]:
        try:
            yield from self._dataset.iterate_episodes(self._newest(capacity))
        except UNREADABLE as error:
            raise _unreadable(self.name, error) from error

    def _newest(self, capacity: int) -> np.ndarray:
        indices, rows = self._dataset.episode_indices, 0
        lengths = [m["total_steps"] + 1 for m in self._dataset.storage.get_episode_metadata(indices)]
        for first in reversed(range(len(indices))):
            rows += int(lengths[first])
            if rows >= capacity:
                return indices[first:]
        return indices

    def _rows(self, episode: Any) -> dict[str, Any] | None:
        """Columns of an episode, its final row included; None when a value is not finite.

        An end in the middle (some datasets record on after it) splits it: what follows begins with the observation
        that the end led to, which is therefore stored twice.
        """
        n, spec = len(episode.rewards), self.spec
        obs, mask = self._observations.batch(episode.observations), self._legal(episode.observations, n + 1)
        if any(len(x) != n + 1 for x in obs.values()):
            raise _unreadable(self.name, ValueError(f"episode {episode.id} has not one observation more than rewards"))
        action = self._actions.decode(episode.actions, n)
        reward = np.asarray(episode.rewards, np.float32)
        finite = np.isfinite(reward).all() and np.isfinite(action.continuous).all()
        if not finite or self._observations.nonfinite(obs):
            return None
        discrete = self._discrete(action.discrete)
        terminated = np.asarray(episode.terminations, bool)
        over = terminated | np.asarray(episode.truncations, bool)
        over[-1:] = True
        # action i of the episode, and after each end the observation i + 1 without an action
        ends = np.flatnonzero(over)
        order = np.argsort(np.concatenate([2 * np.arange(n), 2 * ends + 1]))
        source, last = np.concatenate([np.arange(n), ends + 1])[order], order >= n
        acts, k = ~last, len(source)
        columns = {
            "stream": np.zeros(k, np.int64),
            "obs": {name: x[source] for name, x in obs.items()},
            "mask": mask[source],
            "continuous": np.zeros((k, spec.continuous), np.float32),
            "discrete": np.zeros((k, len(spec.branches)), np.int32),
            "log_prob": np.zeros((k, 2), np.float32),
            "state": np.zeros((k, 0), np.float32),
            "previous": np.zeros((k, 0), np.float32),
            "reward": np.zeros(k, np.float32),
            "discount": np.ones(k, np.float32),
            "last": last,
        }
        columns["continuous"][acts] = np.arctanh(np.clip(action.continuous, -EDGE, EDGE))
        columns["discrete"][acts], columns["reward"][acts] = discrete, reward
        columns["discount"][acts] = ~terminated
        return columns

    def _discrete(self, discrete: np.ndarray) -> np.ndarray:
        """Choices [k, branches] as the spec counts them; joined where it joins branches."""
        branches = self._actions.branches
        if ((discrete < 0) | (discrete >= np.array(branches, int))).any():
            raise UserError(f"minari:{self.name} holds choices outside of its action space {self._actions.space}")
        return discrete if branches == self.spec.branches else joint_choice(discrete, branches)

    def _legal(self, raw: Any, k: int) -> np.ndarray:
        """Masks [k, choices] of raw observations; all is legal where these hold none."""
        seen, branches = self._observations.mask(raw), self._actions.branches
        if seen is None:
            return np.ones((k, self.spec.choices), bool)
        mask = self._masks.rows({}, seen)
        return mask if branches == self.spec.branches else joint_mask(mask, branches)

    def _check(self, bounds: np.ndarray | None) -> None:
        """Raises UserError where the dataset's sensors, actions or bounds are not those of the environment."""
        here, there = self.spec, {s.name: s for s in self._observations.sensors}
        for sensor in here.sensors:
            expected, found = _kind(sensor), _kind(there.get(sensor.name))
            if found != expected:
                raise self._unfit(f"sensor '{sensor.name}'", expected, found)
        for name in there.keys() - {s.name for s in here.sensors}:
            raise self._unfit(f"sensor '{name}'", "no such sensor", _kind(there[name]))
        if self._actions.continuous != here.continuous:
            raise self._unfit("continuous actions", here.continuous, self._actions.continuous)
        branches = self._actions.branches
        if branches != here.branches and (len(branches) < 2 or here.branches != (math.prod(branches),)):
            raise self._unfit("branches", list(here.branches), list(branches))
        if bounds is not None and not np.allclose(bounds, self._actions.bounds):
            raise self._unfit("bounds of the continuous actions", bounds.tolist(), self._actions.bounds.tolist())

    def _unfit(self, what: str, expected: Any, found: Any) -> UserError:
        return UserError(
            f"replay.load=minari:{self.name}: {what}: expected {expected}, found {found}; "
            "load a dataset that was recorded in the same environment"
        )


def _kind(sensor: Sensor | None) -> str:
    return f"shape {sensor.shape} {sensor.dtype}" if sensor is not None else "none"


def _open(dataset_id: str) -> Any:
    """The dataset of this machine. Raises UserError when package or dataset are missing or too new."""
    try:
        import minari

        return minari.load_dataset(dataset_id)
    except ImportError as error:
        cure = f'{str(error).rstrip(".")}. Install what it needs with: pip install -e ".[minari]"'
        raise UserError(f"replay.load=minari:{dataset_id} cannot be read: {cure}") from error
    except FileNotFoundError as error:
        known = ", ".join(minari.list_local_datasets()) or "none"
        raise UserError(
            f"replay.load=minari:{dataset_id}: there is no such dataset on this machine (there are: {known}). "
            f"Fetch it with: minari download {dataset_id} ; or say by MINARI_DATASETS_PATH where datasets are"
        ) from error
    except UNREADABLE as error:
        raise _unreadable(dataset_id, error) from error


def _unreadable(dataset_id: str, error: Exception) -> UserError:
    return UserError(f"replay.load=minari:{dataset_id} cannot be read: {error}")
