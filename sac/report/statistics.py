"""Statistics of a method over a few seeds, with confidence intervals (NumPy only).

Agarwal, Schwarzer, Castro, Courville and Bellemare, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", NeurIPS 2021, arXiv:2108.13264, section 4; the results equal those of their package `rliable`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

TRIMMED_SHARE = 0.25  # of the values, which the interquartile mean leaves out at each end
BOOTSTRAP_RESAMPLES = 2000
CONFIDENCE = 0.95


def iqm(values: ArrayLike) -> float:
    """Interquartile mean of values of any shape: the mean without the lowest and the highest quarter, rounded down.

    Of up to three values it is the mean; of none it is NaN.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    cut = int(TRIMMED_SHARE * ordered.size)
    kept = ordered[cut : ordered.size - cut]
    return float(kept.mean()) if kept.size else float("nan")


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[np.ndarray], float] = iqm,
    seed: int = 0,
    *,
    resamples: int = BOOTSTRAP_RESAMPLES,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """The stratified percentile bootstrap interval of `statistic` for values [runs] of one task, or [runs, tasks].

    Runs are drawn with replacement, independently for each task. The result is (NaN, NaN) for less than two runs, since
    one run says nothing about the next.
    """
    columns = np.asarray(values, np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    runs, tasks = columns.shape
    if runs < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(runs, size=(resamples, runs, tasks))
    found = [statistic(columns[rows, np.arange(tasks)]) for rows in drawn]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(found, [tail, 100 - tail])
    return float(low), float(high)
