"""Looks at recorded transitions for what makes training fail without an error message. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sac.doctor.finding import Finding, note, stops, warning
from sac.types import Spec, Step

MIN_EPISODES = 3  # of which something is said
LARGE_REWARD, SMALL_REWARD = 1e3, 1e-3
LARGE_OBSERVATION = 50.0  # absolute value above which networks learn badly without normalisation
LARGE_SHARE = 0.01  # of the values of a sensor that must be as large
FEW_CHOICES_SHARE = 0.5  # of the states, in which at most one of many choices is legal


@dataclass
class Recording:
    """What a few thousand random steps have shown; `rows` are in the order of their time.

    `first` are the observations with which episodes began and `before` the final ones just before them, of the agents
    for which both were seen, {sensor: [e, ...]}. `bounds` are the lowest and highest values that the environment's
    space allows, {sensor: (low, high)}.
    """

    spec: Spec
    rows: Step
    n_agents: int
    lost: int = 0
    faults: int = 0
    streams: int = 0
    normalised: bool = False
    empty_masks: int = 0
    bounds: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @property
    def acts(self) -> np.ndarray:
        """[k] bool: the rows with an action."""
        return ~self.rows.last


@dataclass(frozen=True)
class Played:
    """An episode that has ended."""

    length: int
    total: float
    terminated: bool


def episodes(rows: Step) -> list[Played]:
    """The whole episodes in rows of several streams, which begin with the first row of each stream."""
    running: dict[int, tuple[int, float, bool]] = {}
    found = []
    for i, stream in enumerate(rows.stream.tolist()):
        length, total, over = running.pop(stream, (0, 0.0, False))
        if rows.last[i]:
            found.append(Played(length, total, over))
        else:
            running[stream] = length + 1, total + float(rows.reward[i]), rows.discount[i] == 0
    return [episode for episode in found if episode.length]


def audit(recording: Recording) -> Iterator[Finding]:
    """All findings about a recording."""
    played = episodes(recording.rows)
    yield from _numbers(recording)
    yield from _endings(recording, played)
    yield from _autoreset(recording)
    yield from _rewards(recording, played)
    yield from _observations(recording)
    yield from _masks(recording)
    yield from _agents(recording)


def _numbers(recording: Recording) -> Iterator[Finding]:
    if recording.faults:
        yield stops(
            "numbers", f"{recording.faults} observations or rewards were NaN or infinite",
            "mend the environment: such episodes are thrown away, and ten in a row end the run",
        )  # fmt: skip


def _endings(recording: Recording, played: Sequence[Played]) -> Iterator[Finding]:
    """Ends that are missing, and time limits that are reported as true ends."""
    steps = int(recording.acts.sum())
    if not played:
        yield warning(
            "endings", f"no episode ended in {steps:,} steps of {recording.n_agents} agents",
            "limit them in the environment (gymnasium.wrappers.TimeLimit, Max Step in Unity), or set "
            "base.max_step_each_iter with base.reset_on_iteration=true, and eval.max_episode_steps",
        )  # fmt: skip
        return
    ended = [episode for episode in played if episode.terminated]
    lengths = {episode.length for episode in ended}
    yield note(
        "endings", f"{len(played)} episodes of {np.mean([e.length for e in played]):.0f} steps on average: "
        f"{len(ended)} terminated, {len(played) - len(ended)} truncated",
    )  # fmt: skip
    if len(ended) >= MIN_EPISODES and len(lengths) == 1 and len(ended) == len(played) and ended[0].length > 1:
        yield warning(
            "endings", f"all {len(ended)} episodes terminated after exactly {ended[0].length} steps: that is a "
            "time limit",
            "report it as a truncation (Gymnasium: truncated=True; Unity: Max Step or EpisodeInterrupted), else states "
            "near it look worthless",
        )  # fmt: skip
    if len(played) >= MIN_EPISODES and np.mean([e.length <= 1 for e in played]) > 0.5:
        share = np.mean([e.length <= 1 for e in played])
        yield warning(
            "endings", f"{share:.0%} of {len(played)} episodes end after one step",
            "look at the condition that ends them, and at whether actions reach the agent",
        )  # fmt: skip


def _autoreset(recording: Recording) -> Iterator[Finding]:
    """Episodes that begin where the one before ended."""
    rows, after = recording.rows, dict[int, int]()
    if all((x == x[:1]).all() for x in rows.obs.values()):  # nothing ever changes, which is said elsewhere
        return
    same = total = 0
    for i, stream in enumerate(rows.stream.tolist()):
        if stream in after and not rows.last[i]:
            before = after.pop(stream)
            total += 1
            same += all(np.array_equal(x[before], x[i]) for x in rows.obs.values())
        if rows.last[i]:
            after[stream] = i
    if total >= MIN_EPISODES and same == total:
        yield warning(
            "reset", f"all {total} new episodes began with the final observation of the episode before",
            "reset() must place the agent anew, and return the first observation of the new episode",
        )  # fmt: skip


def _rewards(recording: Recording, played: Sequence[Played]) -> Iterator[Finding]:
    rewards = np.abs(recording.rows.reward[recording.acts])
    if not len(rewards):
        return
    largest, share = float(rewards.max()), float((rewards > 0).mean())
    yield note("rewards", f"{share:.1%} of {len(rewards):,} rewards are not 0; the largest is {largest:.3g} in size")
    if largest > LARGE_REWARD:
        yield warning("rewards", f"rewards reach {largest:.3g}", "scale them to about 1, or set sac.value_rescale=true")
    elif 0 < largest < SMALL_REWARD:
        yield warning("rewards", f"no reward is larger than {largest:.3g}", "scale them to about 1: entropy hides them")
    totals = {round(episode.total, 6) for episode in played}
    learns = any(episode.terminated for episode in played)  # else random actions have only never met the goal
    if len(played) >= MIN_EPISODES and len(totals) == 1 and totals != {0.0} and learns:
        yield warning(
            "rewards", f"all {len(played)} episodes have the same return, {totals.pop():.3g}",
            "the reward must depend on what the agent does",
        )  # fmt: skip
    elif share == 0:
        yield note("rewards", "random actions earned no reward", "explore more: replay.random_steps, or demonstrations")


def _observations(recording: Recording) -> Iterator[Finding]:
    """Values outside of their space or large ones, and columns that never change."""
    for sensor in recording.spec.sensors:
        x = recording.rows.obs[sensor.name]
        flat = x.reshape(len(x), -1).astype(np.float64)
        constant = int((flat == flat[:1]).all(axis=0).sum())
        if constant == flat.shape[1]:
            yield warning(
                "observations", f"the sensor {sensor.name} never changes in {len(x):,} rows",
                "a camera without graphics sees black (base.no_graphics=false); else look at what fills the sensor",
            )  # fmt: skip
        elif constant:
            yield note("observations", f"{constant} of {flat.shape[1]} numbers of {sensor.name} never change")
        if sensor.name in recording.bounds:
            low, high = (np.ravel(side) for side in recording.bounds[sensor.name])
            outside = (flat < low - 1e-5 * (1 + np.abs(low))) | (flat > high + 1e-5 * (1 + np.abs(high)))
            if outside.any():
                yield warning(
                    "observations", f"{outside.any(axis=1).mean():.1%} of the rows of {sensor.name} lie outside of its "
                    f"space (from {flat.min():.3g} to {flat.max():.3g})",
                    "mend the space or the values: base.scale_by=bounds scales by the space's bounds",
                )  # fmt: skip
        large = float((np.abs(flat) > LARGE_OBSERVATION).mean())
        if large > LARGE_SHARE and sensor.bounds is None and not recording.normalised:
            yield warning(
                "observations", f"{large:.0%} of the numbers of {sensor.name} are larger than {LARGE_OBSERVATION:g}",
                "set sac.use_normalization=true, or scale them in the environment",
            )  # fmt: skip


def _masks(recording: Recording) -> Iterator[Finding]:
    """States without a legal choice, and masks that look inverted."""
    mask, first = recording.rows.mask[recording.acts], 0
    empty = recording.empty_masks - int(recording.rows.last.sum())  # final states may have empty masks
    if empty > 0:
        yield stops(
            "masks", f"{empty} masks allow no choice of a branch at all", "at least one choice of each must be allowed"
        )
    for branch, size in enumerate(recording.spec.branches):
        legal = mask[:, first : first + size].sum(axis=1)
        first += size
        none, few = float((legal == 0).mean()), float((legal <= 1).mean())
        if none:
            yield stops(
                "masks", f"branch {branch} has no legal choice in {none:.1%} of the states",
                "at least one choice of each branch must be allowed",
            )  # fmt: skip
        elif size > 2 and few > FEW_CHOICES_SHARE:
            yield warning(
                "masks", f"branch {branch} has at most one legal choice of {size} in {few:.0%} of the states",
                "is the mask inverted? 1 means allowed (in Unity, WriteActionMask says what is enabled)",
            )  # fmt: skip


def _agents(recording: Recording) -> Iterator[Finding]:
    if recording.lost and not recording.faults:  # unusable numbers lose their episodes as well
        yield warning(
            "agents", f"{recording.lost} agents vanished in the middle of an episode",
            "their episodes are closed as truncations: end them properly (EndEpisode) before disabling an agent",
        )  # fmt: skip
    if recording.streams > 2 * recording.n_agents:
        yield warning(
            "agents", f"{recording.streams} different agents were seen, {recording.n_agents} at a time",
            "agents that are made anew for each episode cost memory: reset them instead of destroying them",
        )  # fmt: skip


def same_seed(
    first: Sequence[Mapping[str, np.ndarray]], second: Sequence[Mapping[str, np.ndarray]]
) -> Iterator[Finding]:
    """Whether two environments with one seed show the same under the same actions."""
    for number, (a, b) in enumerate(zip(first, second)):
        if any(a[name].shape != b[name].shape or not np.array_equal(a[name], b[name]) for name in a):
            yield warning(
                "seed", f"two environments with the same seed differ from step {number} on",
                "draw all random numbers from the seed (Gymnasium: self.np_random; Unity: the seed of the handshake), "
                "else no run can be repeated",
            )  # fmt: skip
            return
    yield note("seed", f"two environments with the same seed agree for {len(first)} steps")
