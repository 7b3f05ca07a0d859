"""The cross-entropy method on networks: learners are drawn about the best ones. NumPy only.

They are drawn from normal distributions with the elementwise mean and standard deviation of the best learners' weights
(Rubinstein and Kroese, The Cross-Entropy Method, 2004, algorithm 4.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sac.population.member import Member
from sac.population.strategy import DRAWN, FRESH, KEPT, Change, Networks

MAX_STD = 1.0  # largest standard deviation of a drawn weight
MEAN, STD, BEST = "mean/", "std/", "best/"  # prefixes of array names
ELITES = "elites"  # name of the array that holds the names of the elites
DRAWN_PART = "policy/"  # begins the names of the arrays that NearCem draws


@dataclass(frozen=True)
class CemRules:
    """Which learners are selected, and how the others are drawn."""

    best: float  # fraction of the learners that are selected
    remove_worst: float  # a learner begins anew when it was selected this much below the mean; below 0: never
    keep_elites: bool  # the selected learners keep their networks
    min_std: float  # smallest standard deviation of a drawn weight


class Cem:
    """Draws every weight of a learner's networks about the elites, the best of the learners."""

    name = "base.evolver_strategy=cem"
    evolves = True

    def __init__(self, rules: CemRules):
        self.rules = rules
        self.distribution: tuple[Networks, Networks] | None = None  # mean and std of the newest generation
        self._elites = ""  # the names of those that it was made of

    def donors(self, compared: Mapping[str, Member], random: np.random.Generator) -> list[str]:
        """The elites, the best first: a share of the learners, at least one."""
        ranked = sorted(compared, key=lambda name: -compared[name].mean)
        return ranked[: max(1, math.floor(self.rules.best * len(ranked)))]

    def changes(
        self, members: Mapping[str, Member], compared: Mapping[str, Member], donors: Mapping[str, Networks],
        random: np.random.Generator, random_of: Callable[[str], np.random.Generator],
    ) -> Sequence[Change]:  # fmt: skip
        """Draws the learners that are no elites, of which one may begin anew; counts how often each was selected."""
        self._take(donors)
        for name in donors:
            members[name].selected += 1
        worst, found = self._worst(members, compared.keys() - donors.keys()), list[Change]()
        for name in members:
            if name == worst:
                found.append(Change(name, FRESH, ""))
            elif name in donors and self.rules.keep_elites:
                found.append(Change(name, KEPT, name))
            elif name in compared:
                found.append(self.newcomer(name, random_of(name)))
        if worst is not None:
            for name, member in members.items():
                member.selected = int(name in donors)
        return found

    def newcomer(self, learner: str, random: np.random.Generator) -> Change:
        if self.distribution is None:
            return Change(learner, FRESH, "")
        return Change(learner, DRAWN, self._elites, self._child(draw(*self.distribution, random)))

    def arrays(self) -> Networks:
        if self.distribution is None:
            return {}
        mean, std = ({prefix + name: x for name, x in networks.items()}
                     for prefix, networks in zip((MEAN, STD), self.distribution))  # fmt: skip
        return {**mean, **std, ELITES: np.array(self._elites)}

    def restore(self, arrays: Networks) -> None:
        self.distribution = (_with_prefix(arrays, MEAN), _with_prefix(arrays, STD)) if arrays else None
        self._elites = str(arrays.get(ELITES, ""))

    def _child(self, drawn: Networks) -> Networks:
        """All that a learner gets, of which `drawn` was drawn."""
        return drawn

    def _take(self, elites: Mapping[str, Networks]) -> None:
        self._elites = " ".join(elites)
        self.distribution = self._distribution_of(elites)

    def _distribution_of(self, elites: Mapping[str, Networks]) -> tuple[Networks, Networks]:
        return mean_and_std(list(elites.values()), self.rules.min_std)

    def _worst(self, members: Mapping[str, Member], losers: Collection[str]) -> str | None:
        """The learner of these that was selected so rarely that it begins anew; None if there is none."""
        if self.rules.remove_worst < 0 or not losers:
            return None
        worst = min(sorted(losers), key=lambda name: members[name].selected)
        mean = float(np.mean([member.selected for member in members.values()]))
        return worst if mean - members[worst].selected >= self.rules.remove_worst else None


class NearCem(Cem):
    """Draws policies near those of the elites; all else of a child is a copy of the best elite's.

    For learners that began with the same networks: only then is the mean of networks one that acts like them. The
    standard deviation of each array is at most `max_std` times the root mean square of its mean. As in CEM-RL
    (arXiv:1810.01222, section 4), whose policies are drawn about one mean and trained by one critic.
    """

    name = "base.evolver_strategy=cem with base.evolver_shared_start=true"

    def __init__(self, rules: CemRules, max_std: float):
        super().__init__(rules)
        self._max_std = max_std
        self._best: Networks = {}  # everything of the best elite of the newest generation

    def arrays(self) -> Networks:
        return {**super().arrays(), **{BEST + name: x for name, x in self._best.items()}}

    def restore(self, arrays: Networks) -> None:
        super().restore(arrays)
        self._best = _with_prefix(arrays, BEST)

    def _child(self, drawn: Networks) -> Networks:
        return {**self._best, **drawn}

    def _distribution_of(self, elites: Mapping[str, Networks]) -> tuple[Networks, Networks]:
        self._best = next(iter(elites.values()))
        policies = [{name: x for name, x in one.items() if name.startswith(DRAWN_PART)} for one in elites.values()]
        mean, std = mean_and_std(policies, self.rules.min_std)
        return mean, {name: np.minimum(x, self._max_std * _rms(mean[name])) for name, x in std.items()}


def mean_and_std(networks: Sequence[Networks], min_std: float) -> tuple[Networks, Networks]:
    """Elementwise mean and standard deviation of networks; the latter is clipped to [min_std, MAX_STD]."""
    mean, std = {}, {}
    for name, first in networks[0].items():
        stacked = np.stack([one[name] for one in networks]).astype(np.float64)
        mean[name] = np.asarray(stacked.mean(0), first.dtype)
        std[name] = np.asarray(np.clip(stacked.std(0), min_std, max(min_std, MAX_STD)), first.dtype)
    return mean, std


def draw(mean: Networks, std: Networks, rng: np.random.Generator) -> Networks:
    """Draws each weight from its own normal distribution."""
    return {name: np.asarray(rng.normal(m, std[name]), m.dtype) for name, m in mean.items()}


def _rms(x: np.ndarray) -> np.float32:
    return np.float32(np.sqrt(np.mean(np.square(x))))


def _with_prefix(arrays: Networks, prefix: str) -> Networks:
    """The arrays whose names begin with the prefix, named without it."""
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
