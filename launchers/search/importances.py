"""How much each key mattered in a search (PED-ANOVA), where there is enough to say so.

Optuna gives every key the same share when all trials are equally good, and confident shares after a handful of trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

FEWEST = 10  # complete trials for a picture: below, the best tenth is compared by one trial alone
ENOUGH = 20  # complete trials from which on the shares of mere noise are small
TENTH = 0.1  # share of the trials that PED-ANOVA takes for good ones
ROUNDING = 1e-9  # objectives that differ by less than this share of their size are equal


def tell_something(study: optuna.Study) -> bool:
    """Whether importances of the first objective mean anything."""
    goodness = _goodness(study)
    return len(goodness) >= FEWEST and 2 * _best(goodness) <= len(goodness)


def caveat(study: optuna.Study) -> str:
    """What to keep in mind about the picture, or why there is none; nothing when all is well."""
    goodness = _goodness(study)
    n = len(goodness)
    if n >= 2 and 2 * _best(goodness) > n:
        return f"no picture of importances: {_best(goodness)} of {n} complete trials are equally good"
    if n < FEWEST:
        return f"no picture of importances: {n} complete trials say nothing of them, {FEWEST} are needed"
    if n < ENOUGH:
        return f"importances are of {n} complete trials: below {ENOUGH} chance alone gives some key a large share"
    return ""


def draw(study: optuna.Study, goal: str):
    """A bar for each key; the axes."""
    from optuna.visualization import matplotlib

    target = None if len(study.directions) == 1 else _first_but_low_is_good(study)
    evaluator = PedAnovaImportanceEvaluator()
    axes = matplotlib.plot_param_importances(study, evaluator=evaluator, target=target, target_name=goal)
    words = caveat(study)
    if words:
        axes.set_title(f"{axes.get_title()}\n({words})", fontsize="medium")
    return axes


def _first_but_low_is_good(study: optuna.Study) -> Callable[[FrozenTrial], float]:
    """With several objectives Optuna wants a number that is low for good trials, whatever the direction."""
    return lambda trial: -_sign(study) * trial.values[0]


def _sign(study: optuna.Study) -> int:
    return 1 if study.directions[0] == StudyDirection.MAXIMIZE else -1


def _goodness(study: optuna.Study) -> np.ndarray:
    """The first objective of the complete trials, high for good ones."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return _sign(study) * np.array([trial.values[0] for trial in trials], dtype=float)


def _best(goodness: np.ndarray) -> int:
    """How many trials are as good as the best tenth, which is what PED-ANOVA compares with all."""
    cutoff = np.sort(goodness)[-math.ceil(TENTH * len(goodness))]
    return int(np.sum(goodness >= cutoff - ROUNDING * np.abs(goodness).max()))
