"""What the critics expected at the start of evaluation episodes, beside what came of it. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sac.collect.rollout import Episode
from sac.types import Step

Row = tuple[Step, int]  # one row of a Step


class QBias:
    """Follows episodes row by row and keeps of each its first row, its last one and its discounted reward.

    An over-estimating critic shows here (van Hasselt et al., arXiv:1509.06461, figure 3): Q of the first step against
    the discounted return. Where a time limit cut an episode, Q of its last step stands for that step and all after it;
    `eval/q_rest` is the part of the return that comes from there.
    Where the targets of Q are paid for entropy (`sac.soft_target`), Q counts the bonuses of a policy that explores and
    the return counts none: Q may lie above by alpha * entropy / (1 - gamma).
    """

    def __init__(self, gamma: float, estimate_q: Callable[[Step], np.ndarray]):
        self.gamma, self._appraise = gamma, estimate_q
        self._open: dict[int, _Open] = {}  # by stream
        self._over: dict[int, _Open] = {}  # the newest finished one of each stream
        self._counted: list[_Open] = []

    def see(self, step: Step) -> None:
        """Takes rows in."""
        for i, (stream, last) in enumerate(zip(step.stream.tolist(), step.last.tolist())):
            if last:
                if stream in self._open:
                    self._over[stream] = self._open.pop(stream)
            elif stream in self._open:
                self._open[stream].go_on((step, i), self.gamma)
            else:
                self._open[stream] = _Open((step, i))

    def count(self, episodes: Sequence[Episode]) -> None:
        """These, which have just ended, belong to the evaluation."""
        self._counted += [self._over[e.stream] for e in episodes if e.stream in self._over]

    def metrics(self) -> dict[str, float]:
        """Means over the episodes counted; nothing without one."""
        if not self._counted:
            return {}
        first = self._appraise(_rows([e.first for e in self._counted]))
        rest = self._appraise(_rows([e.latest for e in self._counted]))
        earned, hoped = zip(*(e.discounted_return(float(q)) for e, q in zip(self._counted, rest)))
        return {
            "eval/q_start": float(np.mean(first)),
            "eval/discounted_return": float(np.mean(earned) + np.mean(hoped)),
            "eval/q_rest": float(np.mean(hoped)),
        }


class _Open:
    """An episode so far: its first and latest row, and the discounted reward of the rows before the latest."""

    def __init__(self, row: Row):
        self.first = self.latest = row
        self.before, self.weight = 0.0, 1.0  # weight: gamma ^ (rows before the latest)

    def go_on(self, row: Row, gamma: float) -> None:
        step, i = self.latest
        self.before += self.weight * float(step.reward[i])
        self.weight *= gamma
        self.latest = row

    def discounted_return(self, q_latest: float) -> tuple[float, float]:
        """What was earned, and what is hoped for where a time limit cut the episode."""
        step, i = self.latest
        if step.discount[i] == 0:
            return self.before + self.weight * float(step.reward[i]), 0.0
        return self.before, self.weight * q_latest


def _rows(rows: Sequence[Row]) -> Step:
    """Single rows as one Step."""
    names = rows[0][0].obs
    obs = {name: np.stack([step.obs[name][i] for step, i in rows]) for name in names}
    columns = {f: np.stack([getattr(step, f)[i] for step, i in rows]) for f in Step._fields if f != "obs"}
    return Step(obs=obs, **columns)
