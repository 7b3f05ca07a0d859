"""Which hyperparameters of a population move, and how long the windows of its replays are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sac.config.distributions import OneOf, UniformRange
from sac.config.live_keys import LIVE_KEYS, check_evolution, live_distributions, longest_n_step
from sac.errors import UserError


def config(forms, *, strategy="pbt", enabled=True, role="train", **sac) -> SimpleNamespace:
    numbers = {name.removeprefix("sac."): 1 for name in LIVE_KEYS} | {"use_auto_alpha": False, "n_step": 2} | sac
    base = SimpleNamespace(
        evolver_strategy=strategy, evolver_enabled=enabled, evolver_fitness="evaluation", evolver_explore="perturb",
        evolver_cem_length=5, evolver_cem_min_length=2,
    )  # fmt: skip
    evaluation = SimpleNamespace(per_step=100)
    return SimpleNamespace(
        random_params=forms, base=base, sac=SimpleNamespace(**numbers), role=role, eval=evaluation
    )  # fmt: skip


def test_keys_move_under_pbt_only():
    forms = {"sac.gamma": {"truncated": [0.9, 0.99]}, "sac": {"n_step": {"in": [1, 3]}}}
    expected = {"sac.gamma": UniformRange(0.9, 0.99), "sac.n_step": OneOf((1, 3))}
    assert live_distributions(config(forms)) == expected
    assert live_distributions(config(forms, enabled=None, role="evolver")) == expected
    for options in ({"strategy": "cem"}, {"strategy": "none"}, {"enabled": None}, {"enabled": False}):
        assert live_distributions(config(forms, **options)) == {}
    assert live_distributions(config({"replay.alpha": {"in": [1]}}, strategy="cem")) == {}, (
        "it draws, and moves nothing"
    )


@pytest.mark.parametrize(("form", "value"), [({"truncated": [0.5, 2]}, "2"), ({"in": [0.9, "high"]}, "high")])
def test_what_a_key_does_not_take_is_refused_also_by_hand(form, value):
    with pytest.raises(
        UserError, match=rf"random_params\.sac\.gamma: it may become {value}.*, allowed is a number betw"
    ):
        live_distributions(config({"sac.gamma": form}))


@pytest.mark.parametrize(("length", "least", "key"), [(1, 2, "cem_length=1"), (2, 1, "cem_min_length=1")])
def test_a_generation_of_pbt_has_two_measurements(length, least, key):
    def generations_of(**options):
        found = config({}, **options)
        found.base.evolver_cem_length, found.base.evolver_cem_min_length = length, least
        return found

    with pytest.raises(UserError, match=f"base.evolver_{key}: .* needs at least 2 measurements"):
        check_evolution(generations_of())
    check_evolution(generations_of(strategy="cem"))
    check_evolution(generations_of(enabled=None))


def test_learners_that_are_compared_by_evaluations_have_some():
    for strategy in ("pbt", "cem", "none"):
        found = config({}, strategy=strategy)
        found.eval.per_step = -1
        with pytest.raises(UserError, match="-1: the evolver compares evaluations"):
            check_evolution(found)
        found.base.evolver_fitness = "training"
        check_evolution(found)


@pytest.mark.parametrize(("more", "refused"), [({}, True), ({"sac.n_step": {"in": [1, 3]}}, True),
                                               ({"sac.tau": {"truncated": [0.001, 0.02]}}, False)])  # fmt: skip
def test_cma_es_needs_two_ranges(more, refused):
    found = config({"sac.gamma": {"truncated": [0.9, 0.99]}, **more})
    check_evolution(found)
    found.base.evolver_explore = "cmaes"
    if refused:
        with pytest.raises(UserError, match="it needs at least 2 ranges in random_params, which has 1"):
            check_evolution(found)
    else:
        check_evolution(found)


@pytest.mark.parametrize(
    ("form", "longest"),
    [({"in": [1, 7, 3]}, 7), ({"truncated": [1, 5]}, 5), ({"std": 3.0, "truncated": [1, 4]}, 4), ({"in": [1]}, 2)],
)
def test_windows_have_rows_for_the_longest_return(form, longest):
    assert longest_n_step(config({"sac.n_step": form})) == longest
    assert longest_n_step(config({})) == longest_n_step(config({"sac.n_step": form}, strategy="cem")) == 2


def test_what_cannot_move_is_refused():
    for forms, options, words in (
        ({"sac.ensemble_q_num": {"in": [2, 4]}}, {}, "it moves sac.learning_rate"),
        ({"sac.init_log_alpha": {"in": [-2, -1]}}, {"use_auto_alpha": True}, "sac.use_auto_alpha=false"),
        ({"sac.n_step": {"std": 2.0}}, {}, "add truncated"),
    ):
        with pytest.raises(UserError, match=words):
            live_distributions(config(forms, **options))
