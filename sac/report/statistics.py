"""What a handful of seeds says about a method, and how surely. NumPy only.

Agarwal, Schwarzer, Castro, Courville and Bellemare, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", NeurIPS 2021, arXiv:2108.13264, section 4; same numbers as their `rliable`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CUT = 0.25  # share of the values that the interquartile mean leaves out at each end
RESAMPLES = 2000
CONFIDENCE = 0.95


def iqm(values: np.ndarray) -> float:
    """Interquartile mean of all values (any shape): without the lowest and the highest quarter, rounded down.

    Of up to three values it is the mean. NaN where there are none.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    cut = int(CUT * ordered.size)
    kept = ordered[cut : ordered.size - cut]
    return float(kept.mean()) if kept.size else float("nan")


def bootstrap_interval(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], float] = iqm,
    seed: int = 0,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Stratified percentile bootstrap of `statistic`: values [runs] of one task, or [runs, tasks].

    Runs are drawn with replacement, for each task on its own. (NaN, NaN) below two runs: one run says nothing about
    the next.
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
