"""How `benchmarks/population.py` tells which learner of a population is the best without the score that it reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sac.report.curves import EVALUATION, TRAINING, RunCurves, read_run

WORST = float("-inf")  # of a learner of which nothing is known yet


class Judge(Protocol):
    """Chooses the learner that is deployed."""

    fitness: str  # value of base.evolver_fitness
    unit: str  # what a generation counts
    metric: str  # its column of metrics.csv

    @property
    def evaluations(self) -> int:
        """Evaluations of each run."""

    @property
    def episodes(self) -> int:
        """Deterministic episodes of an evaluation; those of the last evaluation make the score."""

    def deployed(self, evolver: Path, runs: Sequence[Path], measurements: int) -> int:
        """The position of the best learner, by so many newest measurements where the judge has several."""

    def standing(self, run: RunCurves, i: int) -> float:
        """How good a run is by what was known before its evaluation `i`."""


@dataclass(frozen=True)
class ByTraining:
    """By training episodes, which the evaluations never see."""

    evaluations: int = 5
    episodes: int = 50
    fitness = "training"
    unit = "training episodes"
    metric = TRAINING

    def deployed(self, evolver: Path, runs: Sequence[Path], measurements: int) -> int:
        """As in the evolver's summary.

        A copy also counts by the episodes of the learner that it is a copy of; but who has finished none since it was
        changed does not count.
        """
        members = json.loads((evolver / "evolver" / "state.json").read_text())["members"]
        present, means = {name: one for name, one in members.items() if one["step"] >= 0}, {}
        for name, member in (present or members).items():
            newest = member["recent"][-measurements:]
            means[name] = sum(newest) / len(newest) if newest else member["latest"]
        known = {name: mean for name, mean in means.items() if mean is not None}
        return int(max(known, key=lambda name: known[name]).removeprefix("learner-")) - 1

    def standing(self, run: RunCurves, i: int) -> float:
        (steps, _), (at, returns) = run.series(EVALUATION), run.series(TRAINING)
        before = returns[at <= steps[i]]
        return float(before[-1]) if len(before) else WORST


@dataclass(frozen=True)
class ByEvaluation:
    """By the evaluation before the one that is scored, where training episodes do not tell what the policy can do."""

    evaluations: int = 20
    episodes: int = 10
    fitness = "evaluation"
    unit = "evaluations"
    metric = EVALUATION

    def deployed(self, evolver: Path, runs: Sequence[Path], measurements: int) -> int:
        standings = [self.standing(read_run(run), -1) for run in runs]
        return standings.index(max(standings))

    def standing(self, run: RunCurves, i: int) -> float:
        _, values = run.series(EVALUATION)
        before = values[: i if i >= 0 else len(values) + i]
        return float(before[-1]) if len(before) else WORST


def newest(judge: Judge, run: Path) -> float:
    """How good a run that may go on is, by its newest measurement."""
    value = read_run(run).last(judge.metric)
    return WORST if value is None else value


def curve(judge: Judge, runs: Sequence[Path]) -> list[float]:
    """Each evaluation of the learner that was the best by what was known before it."""
    read = [read_run(run) for run in runs]
    evaluated = [one.series(EVALUATION)[1] for one in read]
    found = []
    for i in range(min(map(len, evaluated))):
        standings = [judge.standing(one, i) for one in read]
        found.append(float(evaluated[standings.index(max(standings))][i]))
    return found


BY_TRAINING, BY_TRAINING_LONG, BY_EVALUATION = ByTraining(), ByTraining(episodes=10), ByEvaluation()
