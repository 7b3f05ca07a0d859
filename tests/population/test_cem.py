"""Who wins, what the others become, who descends from whom."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sac.population.cem import Cem, CemRules, NearCem, draw, mean_and_std
from sac.population.evolution import Descent, Evolution, Rules
from sac.population.strategy import OnlyCompare

RULES = Rules(length=3, min_length=2, seconds=60.0)
CEM = {"best": 0.5, "remove_worst": -1, "keep_elites": True, "min_std": 0.01}
ALL = ("a", "b", "c", "d")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def population(clock=None, members=ALL, strategy=None, **rules) -> Evolution:
    evolution = Evolution(RULES, strategy or Cem(CemRules(**CEM | rules)), 7, clock or Clock())
    for name in members:
        evolution.join(name)
    return evolution


def networks(value: float, size: int = 3) -> dict:
    return {"w": np.full((size,), value, np.float32), "b": np.full((), value, np.float32)}


def evaluate(evolution: Evolution, times: int, values=(1.0, 4.0, 3.0, 2.0)) -> None:
    for name, value in zip(ALL, values):
        member = evolution.members[name]
        for _ in range(times):
            assert evolution.evaluated(name, member.assigned, member.step + 1, value)


def test_moments_are_elementwise_and_std_has_bounds():
    mean, std = mean_and_std([networks(1.0), networks(3.0)], 0.01)
    np.testing.assert_array_equal(mean["w"], [2.0] * 3)
    np.testing.assert_array_equal(std["w"], [1.0] * 3)
    assert mean_and_std([networks(0.0), networks(9.0)], 0.01)[1]["b"] == 1.0, "at most 1"
    assert mean_and_std([networks(5.0)], 0.25)[1]["b"] == 0.25, "one elite alone would give copies of itself"
    assert mean_and_std([networks(5.0)], 0.25)[0]["b"] == 5.0 and mean["w"].dtype == np.float32


def test_what_is_drawn_has_these_moments():
    mean, std = networks(2.0, 100_000), {"w": np.full(100_000, 0.5, np.float32), "b": np.float32(0.0)}
    found = draw(mean, std, np.random.default_rng(0))
    assert abs(found["w"].mean() - 2.0) < 0.01 and abs(found["w"].std() - 0.5) < 0.01
    assert found["b"] == 2.0 and found["w"].dtype == np.float32


def test_it_is_due_when_all_windows_are_full_or_time_has_passed():
    clock = Clock()
    evolution = population(clock)
    evaluate(evolution, 2)
    assert not evolution.due(ALL)
    clock.now = 60.0
    assert evolution.due(ALL) and not population(clock).due(ALL)
    clock.now = 59.0
    assert not evolution.due(ALL)
    evaluate(evolution, 1)
    assert evolution.due(ALL) and not evolution.due(("a",)) and not evolution.due(())
    evolution.join("e")
    assert not evolution.due((*ALL, "e")), "somebody was never evaluated"
    assert evolution.due(ALL), "who is not there is not waited for"
    evolution.members["e"].ended = True
    assert evolution.due((*ALL, "e"))


def test_without_a_strategy_nothing_is_ever_due():
    evolution = population(strategy=OnlyCompare())
    evaluate(evolution, 5)
    assert not evolution.due(ALL) and list(evolution.returns()) == ["b", "c", "d", "a"]


@pytest.mark.parametrize(("best", "names"), [(0, "b"), (0.3, "b"), (0.5, "bc"), (1, "bcda")])
def test_elites_are_the_best_share_and_at_least_one(best, names):
    evolution = population(best=best)
    evaluate(evolution, 1)
    assert evolution.donors(ALL) == list(names)


def test_elites_stay_and_the_others_are_drawn_about_them():
    evolution = population()
    evaluate(evolution, 3)
    become = evolution.evolve({"b": networks(1.0), "c": networks(1.0)}, evolution.members)
    assert become.keys() == {"a", "d"} and not np.array_equal(become["a"]["w"], become["d"]["w"])
    assert all(abs(x["w"] - 1.0).max() < 0.06 for x in become.values()), "six standard deviations"
    assert [evolution.members[name].assigned for name in ALL] == [1, 0, 0, 1]
    assert not any(member.scores for member in evolution.members.values())
    assert {(d.learner, d.what, d.parents) for d in evolution.lineage} == {
        ("a", "drawn", "b c"), ("b", "kept", "b"), ("c", "kept", "c"), ("d", "drawn", "b c")
    }  # fmt: skip
    first = evolution.lineage[0]
    assert (first.generation, first.mean_return, first.evaluations, first.step) == (1, 1.0, 3, 2)


def test_who_was_not_compared_stays_as_it_is():
    evolution = population(members=(*ALL, "new", "away", "ended"))
    evaluate(evolution, 3)
    for name in ("away", "ended"):
        evolution.evaluated(name, 0, 1, -9.0)
    evolution.members["ended"].ended = True
    assert evolution.evolve({"b": networks(1.0)}, {*ALL, "new", "ended"}).keys() == {"a", "c", "d"}
    assert {line.learner for line in evolution.lineage} == set(ALL)


def test_without_keeping_all_are_drawn():
    evolution = population(keep_elites=False)
    evaluate(evolution, 3)
    assert evolution.evolve({"b": networks(1.0)}, evolution.members).keys() == set(ALL)


def test_an_evaluation_counts_once_and_only_for_what_the_learner_is():
    evolution = population()
    assert evolution.evaluated("a", 0, 100, 1.0)
    assert not evolution.evaluated("a", 0, 100, 1.0), "told again"
    assert not evolution.evaluated("a", 0, 50, 1.0), "before it was taken back to a checkpoint"
    evolution.evolve({"b": networks(1.0)}, evolution.members)
    assert not evolution.evaluated("a", 0, 200, 9.0), "of what it is no more"
    assert evolution.evaluated("a", 1, 200, 2.0) and evolution.members["a"].scores == [2.0]


def test_who_comes_late_is_drawn_from_the_newest_generation():
    evolution = population()
    assert evolution.join("a") is None, "it has come again"
    assert evolution.join("late") is None, "there is no generation yet"
    evaluate(evolution, 3)
    evolution.evolve({"b": networks(1.0)}, evolution.members)
    become = evolution.join("later")
    assert abs(become["w"] - 1.0).max() < 0.06 and evolution.members["later"].assigned == 1
    assert evolution.lineage[-1].learner == "later" and evolution.lineage[-1].parents == "b"
    again = population()
    again.restore(evolution.state(), evolution.strategy.arrays(), evolution.lineage)
    again.join("latest")
    assert (again.lineage[-1].what, again.lineage[-1].parents) == ("drawn", "b")


def test_a_learner_that_diverged_begins_anew():
    evolution = population()
    assert evolution.diverged("a") is None and evolution.members["a"].fresh and evolution.members["a"].assigned == 1
    evolution.evolve({"b": networks(1.0)}, evolution.members)
    assert evolution.diverged("d") is not None and not evolution.members["d"].fresh


def test_who_is_selected_too_seldom_begins_anew_once():
    evolution = population(remove_worst=2, best=0.75)
    fresh = []
    for _ in range(5):
        evaluate(evolution, 3)
        become = evolution.evolve({name: networks(1.0) for name in evolution.donors(ALL)}, evolution.members)
        fresh.append([name for name, x in become.items() if x is None])
    assert fresh == [[], [], ["a"], [], ["a"]], "a was never selected, the mean is 0.75 of the generations"
    assert [evolution.members[name].selected for name in ALL] == [0, 1, 1, 1]
    assert evolution.members["a"].fresh and evolution.lineage[-4].what == "fresh"


def test_who_is_away_is_not_the_one_that_begins_anew():
    evolution = population(remove_worst=2, best=0.5)
    for name, selected in zip(ALL, (0, 9, 9, 0)):
        evolution.members[name].selected = selected
    evaluate(evolution, 3)
    become = evolution.evolve({"b": networks(1.0), "c": networks(1.0)}, {"b", "c", "d"})
    assert become == {"d": None} and evolution.members["a"].assigned == 0


@pytest.mark.parametrize(("selected", "begins_anew"), [((0, 1, 3, 2), "a"), ((0, 0, 3, 2), None), ((1, 0, 3, 3), "b")])
def test_the_least_selected_begins_anew_when_it_is_that_far_below_the_mean(selected, begins_anew):
    """b to d were selected so often before, and c and d now once more: the means are 2, 1.75 and 2.25."""
    evolution = population(remove_worst=2)
    evaluate(evolution, 3, (2.0, 1.0, 4.0, 3.0))
    for name, count in zip(ALL, selected):
        evolution.members[name].selected = count
    become = evolution.evolve({"c": networks(1.0), "d": networks(1.0)}, evolution.members)
    assert [name for name, x in become.items() if x is None] == [begins_anew] * (begins_anew is not None)


def test_a_generation_takes_its_time_again():
    clock = Clock()
    evolution = population(clock)
    evaluate(evolution, 2)
    clock.now = 60.0
    evolution.evolve({"b": networks(1.0)}, evolution.members)
    evaluate(evolution, 2)
    assert not evolution.due(ALL)
    clock.now = 120.0
    assert evolution.due(ALL)


def test_the_newest_scores_count():
    evolution = population()
    for step, value in enumerate((1.0, 2.0, 3.0, 4.0, 5.0)):
        evolution.evaluated("a", 0, step, value)
    assert evolution.members["a"].scores == [3.0, 4.0, 5.0] and evolution.returns() == {"a": 3.0}


def test_who_has_ended_is_no_elite():
    evolution = population()
    evaluate(evolution, 3)
    evolution.members["b"].ended = True
    assert evolution.donors(ALL) == ["c"] and evolution.donors(("a", "b", "d")) == ["d"]


def test_each_generation_draws_other_networks():
    evolution, found = population(), []
    for _ in range(3):
        evaluate(evolution, 3)
        found.append(evolution.evolve({"b": networks(1.0)}, evolution.members)["a"]["w"])
    assert len({x.tobytes() for x in found}) == 3


def test_who_diverges_again_before_it_is_evaluated_begins_anew_whatever_is_drawn():
    evolution = population()
    evaluate(evolution, 3)
    evolution.evolve({"b": networks(1.0)}, evolution.members)
    assert evolution.diverged("a") is None, "what was drawn for it diverged at once"
    evolution.evaluated("d", 1, 100, 1.0)
    assert evolution.diverged("d") is not None and not evolution.members["d"].fresh
    assert evolution.diverged("d") is None and evolution.members["d"].fresh
    assert evolution.diverged("d") is not None, "its new beginning diverged too"


def test_nobody_waits_for_a_learner_that_diverges_again_and_again():
    evolution = population()
    evaluate(evolution, 3)
    for _ in range(3):
        assert evolution.diverged("a") is None
        assert evolution.due(ALL), "the others were evaluated often enough"
    assert evolution.evaluated("a", 3, 100, 1.0) and not evolution.due(ALL), "it has come back"


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_late_generation_needs_no_more_evaluations_than_one_in_time(length):
    evolution = population(clock := Clock())
    evolution.rules = Rules(length, 2, 60.0)
    clock.now = 60.0
    evaluate(evolution, length)
    assert evolution.due(ALL)


def test_a_learner_that_is_ahead_is_evaluated_from_its_own_steps_on():
    evolution = population()
    evaluate(evolution, 3)
    evolution.set_number("a", 7)
    member = evolution.members["a"]
    assert (member.assigned, member.scores, member.fresh) == (7, [], False)
    assert evolution.evaluated("a", 7, 0, 9.0) and member.scores == [9.0]


def test_what_was_saved_goes_on_alike():
    clock = Clock()
    one = population(clock)
    evaluate(one, 3)
    one.evolve({"b": networks(1.0)}, one.members)
    clock.now = 40.0
    other = population(Clock(), members=())
    later = [*one.lineage, Descent(2, "a", 1, "drawn", "b", 0.0, 1, 1), Descent(1, "a", 2, "drawn", "b", 0.0, 1, 1)]
    later.append(Descent(1, "late", 1, "drawn", "", 0.0, 0, -1))
    other.restore(json.loads(json.dumps(one.state())), one.strategy.arrays(), later)
    assert other.state() == one.state() and other.lineage == one.lineage
    for evolution in (one, other):
        evaluate(evolution, 2)
    assert not other.due(ALL)
    other._clock.now = 20.0
    assert other.due(ALL), "what had passed before counts"
    first, second = (evolution.evolve({"b": networks(2.0)}, evolution.members) for evolution in (one, other))
    for name, drawn_networks in first.items():
        np.testing.assert_array_equal(drawn_networks["w"], second[name]["w"])


def near(value: float) -> dict:
    return {
        "policy/0": np.full(1000, value, np.float32), "critic_0/0": np.full(3, value, np.float32),
        "optimizer_policy/0": np.int64(value),
    }  # fmt: skip


def test_near_draws_change_policies_little_and_copy_all_else_of_the_best():
    evolution = population(strategy=NearCem(CemRules(**CEM), max_std=0.01))
    evaluate(evolution, 3)
    become = evolution.evolve({"b": near(2.0), "c": near(4.0)}, evolution.members)
    for networks in become.values():
        assert networks["critic_0/0"].tolist() == [2.0] * 3 and networks["optimizer_policy/0"] == 2
        assert abs(networks["policy/0"].mean() - 3.0) < 0.005 and abs(networks["policy/0"].std() - 0.03) < 0.005
    assert not np.array_equal(become["a"]["policy/0"], become["d"]["policy/0"])
    other = population(strategy=NearCem(CemRules(**CEM), max_std=0.01), members=())
    other.restore(json.loads(json.dumps(evolution.state())), evolution.strategy.arrays(), evolution.lineage)
    one, same = evolution.diverged("b"), other.diverged("b")
    assert one.keys() == same.keys() == near(2.0).keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, same[name])
