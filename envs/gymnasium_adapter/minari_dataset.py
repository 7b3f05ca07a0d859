"""Reads Minari datasets (episodes on disk) as Steps for the replay, in the form of the Gymnasium adapter's own."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envs.gymnasium_adapter.action_mask import ActionMask
from envs.gymnasium_adapter.action_space import ActionSpace
from envs.gymnasium_adapter.observation_space import ObservationSpace, named_spaces
from envs.gymnasium_adapter.reading import DEFAULT_READING, Reading
from envs.joint_branches import joint_choice, joint_mask
from sac.errors import UserError
from sac.types import Sensor, Spec, Step

log = logging.getLogger(__name__)
MAX_CHUNK_ROWS = 4096  # of one Step
UNREADABLE_ERRORS = (  # what Minari raises for damaged files
    OSError, ValueError, KeyError, AssertionError, IndexError, TypeError, AttributeError, RuntimeError, SyntaxError,
)  # fmt: skip
MAX_ABS_ACTION = 1 - 1e-6  # tanh reaches 1 at infinity only, so recorded actions are clipped to this


class MinariEpisodes:
    """The episodes of one dataset as Steps of a single stream; each episode ends with its final observation.

    `bounds` [2, A] are those of the environment's continuous actions, if it has any; `reading` is how its observations
    are read. Nothing is downloaded. Raises UserError when the package or the dataset is missing, or when the dataset's
    spaces are not those of `spec`.
    """

    def __init__(
        self, dataset_id: str, spec: Spec, bounds: np.ndarray | None = None, reading: Reading | None = None
    ) -> None:
        self.name, self.spec = dataset_id, spec
        self._dataset = _open(dataset_id)
        self._observations = ObservationSpace(self._dataset.observation_space, reading=reading or DEFAULT_READING)
        self._actions = ActionSpace(self._dataset.action_space)
        width = self._observations.mask_width
        self._masks = ActionMask(self._dataset.action_space, self._actions.branches, 0, width)
        self._check(bounds)
        lossy = sorted(_lossy(self._dataset))
        if lossy:
            log.warning(
                "minari:%s keeps pictures (%s) as JPEG: their pixels are not those that were seen (recordings with "
                "jpeg_encoding=False keep them)",
                self.name,
                ", ".join(lossy),
            )

    def __len__(self) -> int:
        """The number of rows, final observations included."""
        return self._dataset.total_steps + self._dataset.total_episodes

    def steps(self, capacity: int) -> Iterator[Step]:
        """The newest episodes that fill `capacity` rows, oldest first, in Steps of at most so many rows.

        Damaged episodes are left out. Raises UserError when every episode is damaged.
        """
        counts = _EpisodeCounts()
        for episode in self._episodes(capacity, counts):
            rows = self._rows(episode, counts)
            if rows is None:
                continue
            for begin in range(0, len(rows["last"]), min(MAX_CHUNK_ROWS, capacity)):
                part = slice(begin, begin + min(MAX_CHUNK_ROWS, capacity))
                obs = {name: x[part] for name, x in rows["obs"].items()}
                columns = {name: rows[name][part] for name in Step._fields if name != "obs"}
                yield Step(obs=obs, **columns)
        if counts.faults and not counts.used:
            raise _unreadable(self.name, counts.faults[0])
        if counts.warning:
            log.warning("%s: %s", self.name, counts.warning)

    def _episodes(self, capacity: int, counts: _EpisodeCounts) -> Iterator[Any]:
        """The newest episodes that fill `capacity` rows and can be read."""
        indices = self._newest(capacity, counts)
        while len(indices):
            try:
                for episode in self._dataset.iterate_episodes(indices):
                    indices = indices[1:]
                    yield episode
            except UNREADABLE_ERRORS as error:
                counts.faults.append(error)
                indices = indices[1:]

    def _newest(self, capacity: int, counts: _EpisodeCounts) -> list[int]:
        """Indices of the newest episodes that fill so many rows, oldest first, without those of unknown length."""
        newest, rows = [], 0
        for index in reversed(self._dataset.episode_indices.tolist()):
            if rows >= capacity:
                break
            try:
                (metadata,) = self._dataset.storage.get_episode_metadata([index])
                rows += int(metadata["total_steps"]) + 1
                newest.append(index)
            except UNREADABLE_ERRORS as error:
                counts.faults.append(error)
        return newest[::-1]

    def _rows(self, episode: Any, counts: _EpisodeCounts) -> dict[str, Any] | None:
        """Columns of an episode, its final row included, or None where it is unusable; `counts` records which."""
        try:
            obs = self._observations.batch(episode.observations) if len(episode.rewards) else {}
            n, recorded = self._length(episode, obs) if obs else (0, 0)
            columns = self._columns(episode, obs, n) if n else None
        except (*UNREADABLE_ERRORS, UserError) as error:
            counts.faults.append(error)
            return None
        counts.add(columns is not None, shortened=n < recorded)
        return columns

    def _length(self, episode: Any, obs: dict[str, np.ndarray]) -> tuple[int, int]:
        """Steps of the shortest and the longest column. Raises ValueError where they differ by more than one."""
        for sensor in self._observations.sensors:
            if obs[sensor.name].shape[1:] != sensor.shape:
                raise ValueError(f"episode {episode.id}: '{sensor.name}' has the shape {obs[sensor.name].shape[1:]}")
        columns = [*_leaves(episode.actions), episode.rewards, episode.terminations, episode.truncations]
        lengths = [*(len(x) - 1 for x in obs.values()), *map(len, columns)]
        if max(lengths) - min(lengths) > 1:
            raise ValueError(f"episode {episode.id}: its columns have {min(lengths)} to {max(lengths)} steps")
        return min(lengths), max(lengths)

    def _columns(self, episode: Any, obs: dict[str, np.ndarray], n: int) -> dict[str, Any] | None:
        """Columns of the episode's first n steps; None when a value is not finite.

        Some datasets go on recording after an end. Such an end splits the episode: the second part begins with the
        observation that the end led to, which is therefore stored twice.
        """
        spec, recorded = self.spec, len(next(iter(obs.values())))
        mask = self._legal(episode.observations, recorded)[: n + 1]
        obs = {name: x[: n + 1] for name, x in obs.items()}
        action = self._actions.decode(_first(episode.actions, n), n)
        reward = np.asarray(episode.rewards[:n], np.float32)
        finite = np.isfinite(reward).all() and np.isfinite(action.continuous).all()
        if not finite or self._observations.nonfinite(obs):
            return None
        discrete = self._discrete(action.discrete)
        terminated = np.asarray(episode.terminations[:n], bool)
        over = terminated | np.asarray(episode.truncations[:n], bool)
        over[-1:] = True
        # the rows: step i of the episode, and after each end the observation i + 1 without an action
        ends = np.flatnonzero(over)
        order = np.argsort(np.concatenate([2 * np.arange(n), 2 * ends + 1]))
        source, last = np.concatenate([np.arange(n), ends + 1])[order], order >= n
        acts, k = ~last, len(source)
        columns = {
            "stream": np.zeros(k, np.int64),
            "obs": {name: x[source] for name, x in obs.items()},
            "mask": mask[source],
            "raw_action": np.zeros((k, spec.continuous), np.float32),
            "discrete": np.zeros((k, len(spec.branches)), np.int32),
            "log_prob": np.zeros((k, 2), np.float32),
            "state": np.zeros((k, 0), np.float32),
            "previous": np.zeros((k, 0), np.float32),
            "reward": np.zeros(k, np.float32),
            "discount": np.ones(k, np.float32),
            "last": last,
        }
        columns["raw_action"][acts] = np.arctanh(np.clip(action.continuous, -MAX_ABS_ACTION, MAX_ABS_ACTION))
        columns["discrete"][acts], columns["reward"][acts] = discrete, reward
        columns["discount"][acts] = ~terminated
        return columns

    def _discrete(self, discrete: np.ndarray) -> np.ndarray:
        """Choices [k, branches] in the branches of the spec, which may be joined into one."""
        branches = self._actions.branches
        if ((discrete < 0) | (discrete >= np.array(branches, int))).any():
            raise ValueError(f"choices lie outside of the action space {self._actions.space}")
        return discrete if branches == self.spec.branches else joint_choice(discrete, branches)

    def _legal(self, raw: Any, k: int) -> np.ndarray:
        """Masks [k, choices] of raw observations; without a mask in them every choice is legal."""
        seen, branches = self._observations.mask(raw), self._actions.branches
        if seen is None:
            return np.ones((k, self.spec.choices), bool)
        mask = self._masks.rows({}, seen)
        return mask if branches == self.spec.branches else joint_mask(mask, branches)

    def _check(self, bounds: np.ndarray | None) -> None:
        """Raises UserError where the dataset's sensors, actions or bounds differ from the environment's."""
        here, there = self.spec, {s.name: s for s in self._observations.sensors}
        for sensor in here.sensors:
            expected, found = _shape_text(sensor), _shape_text(there.get(sensor.name))
            if found != expected:
                raise self._unfit(f"sensor '{sensor.name}'", expected, found)
        for name in there.keys() - {s.name for s in here.sensors}:
            raise self._unfit(f"sensor '{name}'", "no such sensor", _shape_text(there[name]))
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


@dataclass
class _EpisodeCounts:
    """How many episodes of a dataset were used, and what was wrong with the others."""

    used: int = 0
    unusable: int = 0  # with a NaN, an infinity or no step
    shortened: int = 0
    faults: list[Exception] = field(default_factory=list)  # one for each episode that cannot be read

    def add(self, used: bool, shortened: bool) -> None:
        self.used += used
        self.unusable += not used
        self.shortened += used and shortened

    @property
    def warning(self) -> str:
        """The text of a warning; empty when all episodes were used unchanged."""
        parts = []
        if self.unusable:
            parts.append(f"{self.unusable} episodes with a NaN, an infinity or no step were left out")
        if self.faults:
            parts.append(f"{len(self.faults)} damaged episodes were left out (the first: {self.faults[0]})")
        if self.shortened:
            parts.append(f"{self.shortened} episodes lost their last step, of which a part is missing")
        return "; ".join(parts)


def _leaves(part: Any) -> Iterator[np.ndarray]:
    """The arrays of a nested column."""
    if isinstance(part, dict | tuple):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from _leaves(inner)
    else:
        yield part


def _first(part: Any, n: int) -> Any:
    """The first n entries of a nested column."""
    if isinstance(part, dict):
        return {key: _first(inner, n) for key, inner in part.items()}
    return tuple(_first(inner, n) for inner in part) if isinstance(part, tuple) else part[:n]


def _lossy(dataset: Any) -> Iterator[str]:
    """Names of the sensors whose pictures the dataset stores as JPEG, which changes pixels."""
    from minari.dataset.minari_storage import is_image_space

    if getattr(dataset.storage, "jpeg_encoding", True):  # older versions always used JPEG
        for name, space in named_spaces(dataset.observation_space):
            if is_image_space(space):
                yield name


def _shape_text(sensor: Sensor | None) -> str:
    return f"shape {sensor.shape} {sensor.dtype}" if sensor is not None else "none"


def _open(dataset_id: str) -> Any:
    """The dataset of this id on this machine. Raises UserError when it or the package is missing or unreadable."""
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
    except UNREADABLE_ERRORS as error:
        raise _unreadable(dataset_id, error) from error


def _unreadable(dataset_id: str, error: Exception) -> UserError:
    return UserError(f"replay.load=minari:{dataset_id} cannot be read: {error}")
