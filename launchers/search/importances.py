"""How important each key was in a search (PED-ANOVA), where there are enough trials to tell.

Optuna gives every key the same share when all trials are equally good, and clear shares even after a handful of trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

MIN_TRIALS_FOR_PICTURE = 10  # complete trials; with fewer, the best tenth is one trial alone
MIN_TRIALS_FOR_TRUST = 20  # complete trials from which on pure noise gets small shares only
GOOD_FRACTION = 0.1  # the fraction of the trials that PED-ANOVA compares with all
EQUAL_WITHIN_FRACTION = 1e-9  # objectives that differ by less than this fraction of the largest one are equal


def tell_something(study: optuna.Study) -> bool:
    """Whether importances of the first objective mean anything."""
    goodness = _goodness(study)
    return len(goodness) >= MIN_TRIALS_FOR_PICTURE and 2 * _best(goodness) <= len(goodness)


def caveat(study: optuna.Study) -> str:
    """A note on the picture, or why there is none; empty when there is nothing to note."""
    goodness = _goodness(study)
    n = len(goodness)
    if n >= 2 and 2 * _best(goodness) > n:
        return f"no picture of importances: {_best(goodness)} of {n} complete trials are equally good"
    if n < MIN_TRIALS_FOR_PICTURE:
        return (
            f"no picture of importances: {n} complete trials say nothing of them, {MIN_TRIALS_FOR_PICTURE} are needed"
        )
    if n < MIN_TRIALS_FOR_TRUST:
        few = f"importances are of {n} complete trials"
        return f"{few}: below {MIN_TRIALS_FOR_TRUST} chance alone gives some key a large share"
    return ""


def draw(study: optuna.Study, goal: str) -> Any:
    """Draws a bar for each key and returns the axes."""
    from optuna.visualization import matplotlib

    target = None if len(study.directions) == 1 else _first_but_low_is_good(study)
    evaluator = PedAnovaImportanceEvaluator()
    axes = matplotlib.plot_param_importances(study, evaluator=evaluator, target=target, target_name=goal)
    words = caveat(study)
    if words:
        axes.set_title(f"{axes.get_title()}\n({words})", fontsize="medium")
    return axes


def _first_but_low_is_good(study: optuna.Study) -> Callable[[FrozenTrial], float]:
    """The first objective with the sign that Optuna wants here: low for good trials, whatever its direction."""
    return lambda trial: -_sign(study) * trial.values[0]


def _sign(study: optuna.Study) -> int:
    return 1 if study.directions[0] == StudyDirection.MAXIMIZE else -1


def _goodness(study: optuna.Study) -> np.ndarray:
    """The first objective of the complete trials, high for good ones."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return _sign(study) * np.array([trial.values[0] for trial in trials], dtype=float)


def _best(goodness: np.ndarray) -> int:
    """How many trials are as good as the best tenth, which PED-ANOVA compares with all trials."""
    cutoff = np.sort(goodness)[-math.ceil(GOOD_FRACTION * len(goodness))]
    return int(np.sum(goodness >= cutoff - EQUAL_WITHIN_FRACTION * np.abs(goodness).max()))
