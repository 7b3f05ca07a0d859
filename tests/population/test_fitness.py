"""What a learner reports of itself: its evaluations, or its training episodes."""

from __future__ import annotations

from types import SimpleNamespace

from sac.population.member import EPISODES_INTERVAL_SECONDS, EvaluationReturns, TrainingReturns
from sac.training.progress import Progress


def test_an_evaluation_is_reported_once():
    evaluator = SimpleNamespace(latest=(100, 1.0), scores=SimpleNamespace(returns=[1.0]))
    fitness = EvaluationReturns(evaluator)
    assert fitness.news() is None, "an evaluation of an earlier process was reported by it"
    evaluator.latest = 200, 2.0
    assert fitness.news() == (200, 2.0) and fitness.news() is None
    fitness.forget()
    assert evaluator.scores.returns == []


class Episodes:
    def __init__(self, agents: int = 1):
        self.progress, self.now = Progress(), 0.0
        self.fitness = TrainingReturns(self.progress, lambda: agents, lambda: self.now)

    def end(self, *returns: float) -> None:
        for value in returns:
            self.progress.steps += 10
            self.progress.episode_ended(value, 10)
        self.now += EPISODES_INTERVAL_SECONDS


def test_training_episodes_are_reported_by_their_mean_and_not_too_often():
    episodes = Episodes()
    assert episodes.fitness.news() is None
    episodes.end(1.0, 3.0)
    assert episodes.fitness.news() == (20, 2.0) and episodes.fitness.news() is None
    episodes.end(5.0)
    episodes.now -= EPISODES_INTERVAL_SECONDS / 2
    assert episodes.fitness.news() is None, "too soon"
    assert episodes.fitness.news(at_once=True) == (30, 5.0), "a run that ends does not wait"
    episodes.end(5.0)
    episodes.end(7.0)
    assert episodes.fitness.news() == (50, 6.0)


def test_episodes_that_began_with_former_networks_do_not_count():
    episodes = Episodes(agents=2)
    episodes.end(1.0)
    episodes.fitness.forget()
    episodes.end(2.0)
    assert episodes.fitness.news() is None
    episodes.end(3.0, 4.0)
    assert episodes.fitness.news() == (40, 4.0)


def test_a_restored_count_of_episodes_is_no_news():
    episodes = Episodes()
    state = {"steps": 900, "episodes": 50, "iterations": 0, "summarised": 0, "seconds": 1.0}
    episodes.progress.restore({}, state)
    episodes.now += 10
    assert episodes.fitness.news() is None
