"""What a learner of a population gives to others and takes from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sac.nets import saving
from sac.population.numbers import PREFIX, as_arrays, of_arrays
from sac.replay.running_stats import RunningStats
from sac.wire.codec import Columns

STATS, COUNT = "stats/", "stats_count"  # names among the arrays: statistics of observations, and their count of rows


def gives_everything(columns: Columns) -> bool:
    """Whether a learner whose arrays have these names gives Everything."""
    return COUNT in columns


class EvolvedNetworks:
    """The networks of an agent alone; `make_agent(number)` makes the agent of a new beginning."""

    numbers: Mapping[str, float] = {}

    def __init__(self, agent: Any, make_agent: Callable[[int], Any]):
        self._agent, self._make_agent = agent, make_agent
        self._variables: dict[str, Any] = agent.evolving_variables()

    @property
    def schema(self) -> Columns:
        """Shape and dtype of each array, by name."""
        return {name: (tuple(v.shape), str(v.dtype)) for name, v in self._variables.items()}

    def networks(self) -> Mapping[str, np.ndarray]:
        """The present values, by name."""
        return saving.arrays(self._variables)

    def become(self, networks: Mapping[str, np.ndarray]) -> None:
        """Assigns these values. The optimizer keeps its momentum, as if the agent had always had them."""
        saving.assign(self._variables, networks)

    def begin_anew(self, number: int) -> None:
        """Gives the agent the state of a new one, which `make_agent(number)` makes."""
        self._agent.begin_anew(self._make_agent(number))

    def change(self, numbers: Mapping[str, float]) -> None:
        """Does nothing: no hyperparameter of such a learner changes."""


class Everything:
    """All of an agent and the statistics of its observations, with the hyperparameters `numbers` by key (`sac.gamma`).

    That is networks, targets, moments and counts of optimizers, temperatures and the count of updates.
    """

    def __init__(
        self, agent: Any, make_agent: Callable[[int], Any], stats: RunningStats, numbers: Mapping[str, float]
    ):  # fmt: skip
        self._agent, self._make_agent, self._stats, self.numbers = agent, make_agent, stats, dict(numbers)

    @property
    def schema(self) -> Columns:
        """Shape and dtype of each array, by name."""
        return {name: (x.shape, str(x.dtype)) for name, x in self.networks().items()}

    def networks(self) -> Mapping[str, np.ndarray]:
        """The present values, by name."""
        (arrays, _), (moments, counts) = self._agent.state(), self._stats.state()
        stats = {STATS + name: x for name, x in moments.items()} | {COUNT: np.array(counts["count"], np.int64)}
        return {**arrays, **stats, **as_arrays(self.numbers)}

    def become(self, networks: Mapping[str, np.ndarray]) -> None:
        """Becomes a copy of the learner that has given these values."""
        moments = {name.removeprefix(STATS): x for name, x in networks.items() if name.startswith(STATS)}
        others = (STATS, COUNT, PREFIX)
        self._agent.restore({name: x for name, x in networks.items() if not name.startswith(others)}, {})
        self._stats.restore(moments, {"count": int(networks[COUNT])})
        self.change(of_arrays(networks))

    def begin_anew(self, number: int) -> None:
        """Gives the agent the state of a new one, which `make_agent(number)` makes, with the present numbers."""
        self._agent.begin_anew(self._make_agent(number))
        self.change(self.numbers)

    def change(self, numbers: Mapping[str, float]) -> None:
        """Sets hyperparameters by key; the agent learns with them from now on."""
        self.numbers = {**self.numbers, **numbers}
        self._agent.change({name.removeprefix("sac."): value for name, value in numbers.items()})
