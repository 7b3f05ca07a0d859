"""Population-based training: the worst learners become copies of good ones and go on with other hyperparameters.

Jaderberg et al., Population Based Training of Neural Networks, arXiv:1711.09846, section 3: truncation selection
("exploit") and perturbation ("explore"). Only a loser that is behind by more than the standard error is replaced.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np

from sac.population.member import Member
from sac.population.numbers import as_arrays, of_arrays
from sac.population.strategy import COPIED, FRESH, KEPT, Change, Networks

OBSERVED = "observed"  # name of the array that holds the observations as JSON
DONOR = "donor"  # name of the array that holds the name of the learner whose networks are saved
RECENT = "recent"  # name of the array that holds this learner's measurements
MAX_OBSERVATIONS = 1000  # that are kept, the newest ones


@dataclass(frozen=True)
class Observation:
    """How a learner did with its hyperparameters in a generation."""

    numbers: Mapping[str, float]
    advantage: float  # its mean return minus the mean of all learners


class Explore(Protocol):
    """Says with which hyperparameters a copy goes on."""

    def __call__(
        self, numbers: Mapping[str, float], observed: Sequence[Observation], random: np.random.Generator
    ) -> Mapping[str, float]:
        """Other values of the winner's numbers, by key; `observed` are those of all learners, the newest last."""


class Pbt:
    """Replaces learners among the worst `share` by copies of learners among the best `share`."""

    name = "base.evolver_strategy=pbt"
    evolves = True

    def __init__(self, share: float, explore: Explore):
        self.share, self._explore = share, explore
        self._best: Networks = {}  # networks of the best donor of the newest generation that had one
        self._donor = ""  # its name
        self._recent: list[float] = []  # its measurements then
        self._observed: list[Observation] = []

    def donors(self, compared: Mapping[str, Member], random: np.random.Generator) -> list[str]:
        """The learners of which others become copies, the best first."""
        winners = set(replacements(_scores(compared), self.share, random).values())
        return sorted(winners, key=lambda name: -compared[name].mean)

    def changes(
        self, members: Mapping[str, Member], compared: Mapping[str, Member], donors: Mapping[str, Networks],
        random: np.random.Generator, random_of: Callable[[str], np.random.Generator],
    ) -> Sequence[Change]:  # fmt: skip
        """Copies donors that are still ahead; evaluations may have come since they were asked for their networks."""
        self._observe(compared)
        found = list[Change]()
        winners = replacements(_scores(compared), self.share, random)
        for name in compared:
            winner = winners.get(name, "")
            if winner in donors:
                networks = self._copy(donors[winner], random_of(name))
                found.append(Change(name, COPIED, winner, networks, compared[winner].recent))
            else:
                found.append(Change(name, KEPT, name))
        if donors:
            self._donor = max(donors, key=lambda name: compared[name].mean)
            self._best, self._recent = donors[self._donor], compared[self._donor].recent
        return found

    def newcomer(self, learner: str, random: np.random.Generator) -> Change:
        if not self._best:
            return Change(learner, FRESH, "")
        return Change(learner, COPIED, self._donor, self._copy(self._best, random), self._recent)

    def arrays(self) -> Networks:
        observed = json.dumps([asdict(one) for one in self._observed])
        return {
            **self._best, OBSERVED: np.array(observed), DONOR: np.array(self._donor), RECENT: np.array(self._recent)
        }  # fmt: skip

    def restore(self, arrays: Networks) -> None:
        if OBSERVED not in arrays:  # lost, or those of another strategy
            return
        self._best = {name: x for name, x in arrays.items() if name not in (OBSERVED, DONOR, RECENT)}
        self._donor = str(arrays.get(DONOR, ""))
        self._recent = np.asarray(arrays.get(RECENT, ())).tolist()
        self._observed = [Observation(**one) for one in json.loads(str(arrays[OBSERVED]))]

    def _observe(self, compared: Mapping[str, Member]) -> None:
        mean = float(np.mean([member.mean for member in compared.values()]))
        new = [Observation(dict(member.numbers), member.mean - mean) for member in compared.values()]
        self._observed = [*self._observed, *new][-MAX_OBSERVATIONS:]

    def _copy(self, networks: Networks, random: np.random.Generator) -> Networks:
        return {**networks, **as_arrays(self._explore(of_arrays(networks), self._observed, random))}


def replacements(scores: Mapping[str, Sequence[float]], share: float, random: np.random.Generator) -> dict[str, str]:
    """Which learner becomes a copy of which other one: loser -> winner.

    The losers are the worst `share` of the learners, at least one and at most half of them; each is compared with a
    random one of as many winners, and replaced where that one is `ahead`.
    """
    ranked = sorted(scores, key=lambda name: (-float(np.mean(scores[name])), name))
    size = min(max(1, math.floor(share * len(ranked))), len(ranked) // 2)
    winners, losers = ranked[:size], ranked[len(ranked) - size :]
    pairs = {loser: winners[int(random.integers(size))] for loser in losers}
    return {loser: winner for loser, winner in pairs.items() if ahead(scores[winner], scores[loser])}


def ahead(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the mean of `one` is above that of `other` by more than the standard error of their difference.

    The standard error is Welch's, sqrt(s1^2 / n1 + s2^2 / n2). With a single score on a side it is unknown, and the
    answer is no.
    """
    if min(len(one), len(other)) < 2:
        return False
    error = math.sqrt(np.var(one, ddof=1) / len(one) + np.var(other, ddof=1) / len(other))
    return float(np.mean(one) - np.mean(other)) > error


def _scores(compared: Mapping[str, Member]) -> dict[str, list[float]]:
    return {name: member.scores for name, member in compared.items()}
