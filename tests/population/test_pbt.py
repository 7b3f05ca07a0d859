"""Who is replaced by whom, by how much a winner must be ahead, and what a copy takes over."""

from __future__ import annotations

import numpy as np
import pytest

from sac.population.evolution import Evolution, Rules
from sac.population.numbers import as_arrays, of_arrays
from sac.population.pbt import Pbt, ahead, replacements
from sac.population.store import PopulationStore


def flat(*means: float, n: int = 3) -> dict[str, list[float]]:
    """Learners a, b, c ... whose scores have these means and a sample standard deviation of 1."""
    return {"abcdefghijkl"[i]: [m - 1, m, m + 1][:n] for i, m in enumerate(means)}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # The standard errors by hand: variances 1 / 3 each give sqrt(2 / 3) = 0.8165.
        ([0.0, 1.0, 2.0], [-0.82, 0.18, 1.18], True),
        ([0.0, 1.0, 2.0], [-0.81, 0.19, 1.19], False),
        # Variances 2 and 8 of two scores each: sqrt(2 / 2 + 8 / 2) = 2.236.
        ([4.0, 6.0], [0.7, 4.7], True),
        ([4.0, 6.0], [0.8, 4.8], False),
        # Different counts: sqrt(1 / 3 + 0 / 2) = 0.577.
        ([0.0, 1.0, 2.0], [0.42, 0.42], True),
        ([0.0, 1.0, 2.0], [0.43, 0.43], False),
        ([1.0, 1.0], [1.0, 1.0], False),
        ([2.0, 2.0], [1.0, 1.0], True),
        ([9.0], [1.0, 1.0], False),
        ([9.0, 9.0], [1.0], False),
        ([1.0, 1.0], [2.0, 2.0], False),
    ],
)
def test_ahead_means_by_more_than_the_standard_error(one, other, expected):
    assert ahead(one, other) is expected


@pytest.mark.parametrize(
    ("means", "share", "losers", "winners"),
    [
        ((0, 10, 20, 30), 0.25, "a", "d"),
        ((30, 20, 10, 0), 0.25, "d", "a"),
        ((0, 10, 20, 30), 0.0, "a", "d"),  # at least one
        ((0, 10, 20, 30), 0.5, "ab", "cd"),
        ((0, 10, 20, 30), 0.3, "a", "d"),
        ((0, 10), 0.25, "a", "b"),
        ((0, 10, 20), 0.5, "a", "c"),
        ((0, 10, 20), 0.9, "a", "c"),  # at most half: the middle one is neither
        ((0, 10, 20, 30, 40, 50, 60, 70), 0.25, "ab", "gh"),
        ((0, 10, 20, 30, 40, 50, 60), 0.25, "a", "g"),  # 0.25 * 7 is rounded down
    ],
)
def test_the_worst_share_is_replaced_by_the_best(means, share, losers, winners):
    found = [replacements(flat(*means), share, np.random.default_rng(seed)) for seed in range(30)]
    assert all(set(pairs) == set(losers) and set(pairs.values()) <= set(winners) for pairs in found)
    assert {winner for pairs in found for winner in pairs.values()} == set(winners), "each of the best is drawn"
    assert found[0] == replacements(flat(*means), share, np.random.default_rng(0)), "the same numbers, the same pairs"


def test_who_is_not_clearly_behind_stays():
    near = flat(0.0, 0.1, 0.2, 0.5)
    assert replacements(near, 0.25, np.random.default_rng(0)) == {}
    assert replacements(flat(0, 10, 20, 30, n=1), 0.25, np.random.default_rng(0)) == {}, "one score says no error"
    assert replacements({"a": [1.0, 2.0]}, 0.25, np.random.default_rng(0)) == {}
    assert replacements({}, 0.25, np.random.default_rng(0)) == {}
    assert replacements(flat(5, 5, 5, 5), 0.5, np.random.default_rng(0)) == {}


def test_the_best_is_never_touched():
    rng = np.random.default_rng(7)
    for _ in range(500):
        n = int(rng.integers(1, 9))
        scores = {f"m{i}": rng.normal(rng.normal() * 3, 1, int(rng.integers(1, 5))).tolist() for i in range(n)}
        pairs = replacements(scores, float(rng.uniform(0, 0.5)), rng)
        best = max(scores, key=lambda name: np.mean(scores[name]))
        assert best not in pairs and not pairs.keys() & set(pairs.values()) and len(pairs) <= max(1, n // 2)


def doubled(numbers, observed, random):
    return {name: 2 * value for name, value in numbers.items()}


def networks(value: float) -> dict:
    return {"w": np.full(3, value, np.float32), "updates": np.int32(value), **as_arrays({"sac.gamma": value})}


def population(first_step: int = 0) -> Evolution:
    evolution = Evolution(Rules(2, 2, 1e9, first_step), Pbt(0.25, doubled), 3)
    for name in "abcd":
        evolution.join(name)
    return evolution


def evaluate(evolution: Evolution, *values: float, step: int = 100) -> None:
    for name, value in zip("abcd", values):
        for i in range(2):
            assert evolution.evaluated(name, evolution.members[name].assigned, step + i, value + i)


def test_a_copy_takes_over_everything_and_other_numbers():
    evolution = population()
    evaluate(evolution, 0, 10, 20, 30)
    evolution.members["a"].numbers = {"sac.gamma": 0.5}
    assert evolution.due("abcd") and evolution.donors("abcd") == ["d"]
    become = evolution.evolve({"d": networks(4.0)}, set("abcd"))
    assert become.keys() == {"a"} and of_arrays(become["a"]) == {"sac.gamma": 8.0}
    np.testing.assert_array_equal(become["a"]["w"], [4.0] * 3)
    assert become["a"]["updates"] == 4
    assert [(d.learner, d.what, d.parents, d.assigned) for d in evolution.lineage] == [
        ("a", "copied", "d", 1), ("b", "kept", "b", 0), ("c", "kept", "c", 0), ("d", "kept", "d", 0)
    ]  # fmt: skip
    assert evolution.lineage[0].numbers == "sac.gamma=0.5", "those that its scores belong to"
    assert not any(member.scores for member in evolution.members.values())


def test_a_generation_may_change_nobody():
    evolution = population()
    evaluate(evolution, 1, 1.1, 1.2, 1.3)
    assert evolution.due("abcd") and evolution.donors("abcd") == []
    assert evolution.evolve({}, set("abcd")) == {} and evolution.generation == 1
    assert not evolution.due("abcd"), "new evaluations are wanted"


def test_there_is_no_generation_in_the_first_share_of_the_run():
    evolution = population(first_step=150)
    evaluate(evolution, 0, 10, 20, 30, step=100)
    assert not evolution.due("abcd")
    evaluate(evolution, 0, 10, 20, 30, step=150)
    assert evolution.due("abcd")
    evolution.evolve({"d": networks(1.0)}, set("abcd"))
    evolution.evaluated("a", 1, 160, 0.0)
    evolution.evaluated("a", 1, 170, 0.0)
    evaluate(evolution, *(0, 10, 20, 30), step=200)
    assert evolution.due("abcd"), "a copy has left the first share behind it"


def test_a_winner_that_is_no_longer_ahead_is_not_copied():
    evolution = population()
    evaluate(evolution, 0, 10, 20, 30)
    evolution.evaluated("a", 0, 900, 25.0)
    evolution.evaluated("a", 0, 901, 26.0)
    assert evolution.evolve({"d": networks(1.0)}, set("abcd")).keys() == {"b"}, "b is the worst now"
    evaluate(evolution, 30.0, 30.1, 30.2, 30.3, step=1000)
    assert evolution.evolve({"d": networks(1.0)}, set("abcd")) == {}, "d is ahead of nobody"


def test_who_diverges_becomes_a_copy_of_the_best_and_at_first_begins_anew():
    evolution = population()
    assert evolution.diverged("a") is None
    evaluate(evolution, 0, 10, 20, 30)
    evolution.evolve({"d": networks(4.0)}, set("abcd"))
    np.testing.assert_array_equal(evolution.diverged("b")["w"], [4.0] * 3)
    assert evolution.join("late")["w"][0] == 4.0
    other = population()
    other.restore(evolution.state(), evolution.strategy.arrays(), evolution.lineage)
    np.testing.assert_array_equal(other.diverged("c")["w"], [4.0] * 3)
    for found in (evolution, other):
        assert (found.lineage[-1].what, found.lineage[-1].parents) == ("copied", "d")


def test_a_late_learner_has_the_measurements_of_what_it_is_a_copy_of():
    """The donor has been measured since, as something that the late learner never was."""
    evolution = population()
    evaluate(evolution, 0, 10, 20, 30)
    evolution.evolve({"d": networks(4.0)}, set("abcd"))
    other = population()
    other.restore(evolution.state(), evolution.strategy.arrays(), evolution.lineage)
    for one in (evolution, other):
        for step in range(900, 910):
            one.evaluated("d", 0, step, 1000.0)
        one.join("late")
        assert one.members["late"].recent == [30.0, 31.0]
        one.diverged("b")
        assert one.members["b"].recent == [30.0, 31.0]


def test_who_makes_a_change_again_is_measured_again():
    evolution = population()
    evaluate(evolution, 0, 10, 20, 30)
    evolution.evolve({"d": networks(4.0)}, set("abcd"))
    evolution.taken_back("a")
    assert evolution.members["a"].recent == [30.0, 31.0], "it has not heard of the change yet"
    evaluate(evolution, 50, 10, 20, 30, step=300)
    evolution.taken_back("a")
    assert evolution.members["a"].scores == [] and evolution.best()[0] == "d"
    assert not evolution.due("abcd") and evolution.evaluated("a", 1, 200, 5.0), "from an earlier step on"


def test_the_best_is_found_by_what_the_learners_are_now():
    evolution = population()
    assert evolution.best() is None
    evaluate(evolution, 0, 10, 20, 30)
    assert evolution.best() == ("d", 30.5)
    evolution.evolve({"d": networks(1.0)}, set("abcd"))
    assert evolution.best() == ("d", 30.5), "the mean before the generation, not the newest evaluation alone"
    assert evolution.returns() == {"d": 30.5, "a": 30.5, "c": 20.5, "b": 10.5}, "a is a copy of d"
    evolution.evaluated("c", 0, 900, 50.0)
    assert evolution.best() == ("d", 30.5), "one good episode of c is luck: (20 + 21 + 50) / 3"
    for step in range(901, 910):
        evolution.evaluated("c", 0, step, 50.0)
    assert evolution.best() == ("c", 50.0), "the newest ten"
    evolution.members["a"].recent = [99.0]
    assert evolution.best() == ("c", 50.0), "a was not measured since it was changed"
    evolution.evaluated("a", 1, 950, 99.0)
    assert evolution.best() == ("a", 99.0)


def test_the_summary_names_a_lineage_once_there_were_generations(tmp_path):
    evolution, store = population(), PopulationStore(tmp_path)
    evaluate(evolution, 0, 10, 20, 30)
    assert "the best of 4 is d with a mean return of 30.5" in store.summary(evolution)
    assert "lineage" not in store.summary(evolution)
    evolution.evolve({"d": networks(4.0)}, set("abcd"))
    assert f"lineage: {store.lineage_csv}, lineage.png" in store.summary(evolution)


def test_of_equal_learners_one_is_often_copied():
    """The best and the worst of several are apart by chance alone, as docs/populations.md says."""
    random = np.random.default_rng(0)
    for length in (3, 30):
        copies = sum(
            bool(replacements(dict(zip("abcd", random.normal(size=(4, length)))), 0.25, random)) for _ in range(400)
        )
        assert 0.65 < copies / 400 < 0.85, length
