"""The critics' estimates at the start of evaluation episodes, beside the returns of these episodes. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sac.collect.agent_slots import Episode
from sac.types import Step, stacked

Row = tuple[Step, int]  # a Step and the position of one of its rows


class QBias:
    """Keeps the first row, the latest row and the discounted reward of each episode.

    The difference of `eval/q_start` (Q of the first step) and `eval/discounted_return` shows over-estimating critics
    (van Hasselt et al., arXiv:1509.06461, figure 3). Where a time limit cut an episode, the return ends with
    gamma^n Q of its last step, which stands for that step's reward and all later ones; `eval/q_rest` is this part.
    Where the targets of Q include an entropy bonus (`sac.soft_target`), Q counts the bonuses of the exploring policy
    and the return has none: an unbiased Q may then lie above the return by up to alpha * entropy / (1 - gamma).
    """

    def __init__(self, gamma: float, estimate_q: Callable[[Step], np.ndarray]):
        """`estimate_q` returns Q [k] of the actions in k rows."""
        self.gamma, self._estimate_q = gamma, estimate_q
        self._running: dict[int, _PartialReturn] = {}  # by stream
        self._finished: dict[int, _PartialReturn] = {}  # the newest finished one of each stream
        self._counted: list[_PartialReturn] = []

    def add_rows(self, step: Step) -> None:
        """Takes in the rows of one turn, in the order of their time."""
        for i, (stream, last) in enumerate(zip(step.stream.tolist(), step.last.tolist())):
            if last:
                if stream in self._running:
                    self._finished[stream] = self._running.pop(stream)
            elif stream in self._running:
                self._running[stream].add((step, i), self.gamma)
            else:
                self._running[stream] = _PartialReturn((step, i))

    def add_episodes(self, episodes: Sequence[Episode]) -> None:
        """Counts these episodes, which ended with the rows that were added last."""
        self._counted += [self._finished[e.stream] for e in episodes if e.stream in self._finished]

    def metrics(self) -> dict[str, float]:
        """Means over the counted episodes; empty without one."""
        if not self._counted:
            return {}
        q_first = self._estimate_q(stacked([e.first for e in self._counted]))
        q_latest = self._estimate_q(stacked([e.latest for e in self._counted]))
        earned, rest = zip(*(e.discounted_return(float(q)) for e, q in zip(self._counted, q_latest)))
        return {
            "eval/q_start": float(np.mean(q_first)),
            "eval/discounted_return": float(np.mean(earned) + np.mean(rest)),
            "eval/q_rest": float(np.mean(rest)),
        }


class _PartialReturn:
    """An episode so far: its first and latest row, and the discounted reward of the rows before the latest."""

    def __init__(self, row: Row):
        self.first = self.latest = row
        self.before, self.weight = 0.0, 1.0  # weight: gamma ^ (rows before the latest)

    def add(self, row: Row, gamma: float) -> None:
        step, i = self.latest
        self.before += self.weight * float(step.reward[i])
        self.weight *= gamma
        self.latest = row

    def discounted_return(self, q_latest: float) -> tuple[float, float]:
        """The sum of the rewards received, and the critics' estimate of the rest where a time limit cut the episode."""
        step, i = self.latest
        if step.discount[i] == 0:
            return self.before + self.weight * float(step.reward[i]), 0.0
        return self.before, self.weight * q_latest
