"""What a learner reports of itself: its evaluations, or its training episodes."""

from __future__ import annotations

from types import SimpleNamespace

from sac.population.evolving_source import EvaluationReturns, TrainingReturns
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
        self.progress = Progress()
        self.evaluator = SimpleNamespace(scores=SimpleNamespace(returns=[1.0]))
        self.fitness = TrainingReturns(self.evaluator, self.progress, lambda: agents)

    def end(self, value: float, *, steps: int = 10, length: int = 10) -> None:
        """An episode ends, `steps` of all agents after the one before."""
        self.progress.steps += steps
        self.progress.episode_ended(value, length)


def test_each_training_episode_of_one_agent_is_reported():
    episodes = Episodes()
    assert episodes.fitness.news() is None
    episodes.end(1.0)
    assert episodes.fitness.news() == (10, 1.0) and episodes.fitness.news() is None
    episodes.end(3.0)
    episodes.end(5.0)
    assert episodes.fitness.news() == (30, 4.0), "both, where nobody asked between them"


def test_many_agents_are_reported_by_the_mean_of_as_many_episodes():
    episodes = Episodes(agents=3)
    for value in (1.0, 2.0):
        episodes.end(value)
        assert episodes.fitness.news() is None
    episodes.end(6.0)
    assert episodes.fitness.news() == (30, 3.0) and episodes.fitness.news(at_once=True) is None
    episodes.end(7.0)
    assert episodes.fitness.news() is None
    assert episodes.fitness.news(at_once=True) == (40, 7.0), "a run that ends does not wait"


def test_episodes_that_began_with_former_networks_do_not_count():
    """Of two agents, one ends short episodes while the other is still in a long one that began before."""
    episodes = Episodes(agents=2)
    episodes.end(1.0)
    episodes.fitness.forget()
    assert episodes.evaluator.scores.returns == [], "nor do evaluations, which name the best checkpoint"
    episodes.end(2.0, steps=10, length=6)
    episodes.end(3.0, steps=10, length=4)
    episodes.end(4.0, steps=0, length=100)
    episodes.end(5.0, steps=10, length=9)
    assert episodes.fitness.news() == (40, 4.0), "(3 + 5) / 2"


def test_a_restored_count_of_episodes_is_no_news():
    episodes = Episodes()
    state = {"steps": 900, "episodes": 50, "iterations": 0, "summarised": 0, "seconds": 1.0}
    episodes.progress.restore({}, state)
    assert episodes.fitness.news() is None
