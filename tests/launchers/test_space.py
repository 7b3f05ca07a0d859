"""What is drawn: each form of random_params gives the distribution that it names."""

from __future__ import annotations

import math
from collections import Counter
from statistics import NormalDist

import numpy as np
import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from launchers.search.space import grid, suggest, typed_forms
from sac.config.distributions import Normal, OneOf, UniformRange, parse
from sac.config.parameter_space import ParameterSpace
from sac.errors import UserError

N = 2000
CONFIG = OmegaConf.create({
    "sac": {"gamma": 0.99, "n_step": 3, "tau": 0.005, "learning_rate": 3e-4, "init_log_alpha": -2.3, "trace": "vtrace"},
    "base": {"nn_kwargs": {}, "threads": None}, "seed": None, "hydra": {"runtime": {"choices": {"env": "roller"}}},
})  # fmt: skip


def space(*typed, **params) -> ParameterSpace:
    forms = {name.replace("__", "."): form for name, form in params.items()}
    sweeps = OverridesParser.create().parse_overrides(typed)
    return ParameterSpace.of(OmegaConf.merge(CONFIG, {"random_params": forms}), typed_forms(sweeps))


def drawn(name: str, form) -> list:
    """N values as Optuna's random sampler draws them."""
    found = ParameterSpace.of(OmegaConf.merge(CONFIG, {"random_params": {name: form}}))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [suggest(found, study.ask())[name] for _ in range(N)]


def distance(values, cdf) -> float:
    """Kolmogorov-Smirnov statistic; below 1.95 / sqrt(N) in all but one of a thousand draws."""
    ordered = np.sort(values)
    expected = np.array([cdf(x) for x in ordered])
    steps = np.arange(1, len(ordered) + 1) / len(ordered)
    return max(np.abs(expected - steps).max(), np.abs(expected - steps + 1 / len(ordered)).max())


CLOSE = 1.95 / math.sqrt(N)


def uniform(low, high):
    return lambda x: (x - low) / (high - low)


def normal(mean, std, low=-math.inf, high=math.inf):
    d = NormalDist(mean, std)
    return lambda x: (d.cdf(x) - d.cdf(low)) / (d.cdf(high) - d.cdf(low))


@pytest.mark.parametrize(
    ("name", "form", "cdf", "wrong"),
    [
        ("sac.gamma", {"truncated": [0.9, 0.999]}, uniform(0.9, 0.999), normal(0.95, 0.02, 0.9, 0.999)),
        (
            "sac.learning_rate", {"truncated": [1e-4, 1e-2], "log": True},
            lambda x: uniform(math.log(1e-4), math.log(1e-2))(math.log(x)), uniform(1e-4, 1e-2),
        ),
        ("sac.init_log_alpha", {"std": 0.5}, normal(-2.3, 0.5), normal(-2.3, 0.6)),
        (
            "sac.tau", {"std": 0.005, "truncated": [0.004, 0.01]}, normal(0.005, 0.005, 0.004, 0.01),
            uniform(0.004, 0.01),
        ),
    ],
)  # fmt: skip
def test_numbers_are_drawn_from_what_the_form_names(name, form, cdf, wrong):
    values = drawn(name, form)
    assert distance(values, cdf) < CLOSE < distance(values, wrong)
    low, high = form.get("truncated", (-math.inf, math.inf))
    assert min(values) >= low and max(values) <= high


def chi_square(values, expected: dict) -> float:
    """Below 20.5 with five degrees of freedom in all but one of a thousand draws."""
    counts = Counter(values)
    assert set(counts) <= set(expected)
    return sum((counts[v] - N * p) ** 2 / (N * p) for v, p in expected.items())


def test_in_draws_each_value_as_often():
    assert chi_square(drawn("sac.n_step", {"in": [1, 3, 5]}), dict.fromkeys([1, 3, 5], 1 / 3)) < 20.5


def test_whole_numbers_include_both_bounds():
    values = drawn("sac.n_step", {"truncated": [1, 6]})
    assert all(type(value) is int for value in values)
    assert chi_square(values, dict.fromkeys(range(1, 7), 1 / 6)) < 20.5


def test_a_normal_of_whole_numbers_is_rounded():
    values = drawn("sac.n_step", {"std": 1.0, "truncated": [1, 6]})
    assert all(type(value) is int for value in values)
    cdf = normal(3, 1, 1, 6)
    halves = {k: cdf(min(k + 0.5, 6)) - cdf(max(k - 0.5, 1)) for k in range(1, 7)}
    assert chi_square(values, halves) < 20.5


@pytest.mark.parametrize(
    "distribution",
    [
        OneOf((1, 2, 3)),
        UniformRange(0.0, 2.0),
        UniformRange(1, 5, whole=True),
        UniformRange(1e-3, 1.0, log=True),
        Normal(0, 1, 0, 2),
    ],
)
def test_quantiles_draw_the_same_for_an_evolver(distribution):
    """`at` rises from the lowest to the highest value."""
    values = [distribution.at(q) for q in np.linspace(0, 1, 101)]
    assert values == sorted(values)
    if isinstance(distribution, OneOf):
        assert Counter(values).most_common()[-1][1] >= 33
    else:
        assert values[0] == pytest.approx(distribution.low) and values[-1] == pytest.approx(distribution.high)


def test_uniform_whole_quantiles_are_equally_likely():
    counts = Counter(UniformRange(1, 4, whole=True).at(q) for q in (np.arange(1000) + 0.5) / 1000)
    assert counts == dict.fromkeys((1, 2, 3, 4), 250)


def test_lists_mappings_texts_and_groups_can_be_chosen():
    found = space(
        sac__trace={"in": ["vtrace", "retrace"]}, env={"in": ["roller", "roller/hard"]},
        base__nn_kwargs__hidden={"in": [[64, 64], [256]]},
    )  # fmt: skip
    values = suggest(found, optuna.create_study().ask())
    assert values["base.nn_kwargs.hidden"] in ([64, 64], [256]) and values["env"].startswith("roller")


def test_sweeps_on_the_command_line_are_searched_too():
    found = space("sac.n_step=choice(1,3)", "sac.gamma=interval(0.9,0.99)", "sac.tau=tag(log,interval(0.001,0.1))")
    assert found.distributions == {
        "sac.n_step": OneOf((1, 3)), "sac.gamma": UniformRange(0.9, 0.99),
        "sac.tau": UniformRange(0.001, 0.1, log=True),
    }  # fmt: skip
    assert space("sac.n_step=range(1,4)").distributions == {"sac.n_step": OneOf((1, 2, 3))}


def test_nested_sections_are_the_same_as_dotted_keys():
    nested = ParameterSpace.of(OmegaConf.merge(CONFIG, {"random_params": {"sac": {"gamma": {"in": [0.9, 0.99]}}}}))
    assert nested == space(sac__gamma={"in": [0.9, 0.99]})


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"sac.gama": {"in": [1]}}, "unknown key sac.gama: did you mean sac.gamma?"),
        ({"sac.gamma": 0.9}, r"random_params.sac.gamma=0.9: allowed is \{in: \[values\]\}"),
        ({"sac.gamma": {"within": [0, 1]}}, "did you mean|allowed is"),
        ({"sac.gamma": {"in": []}}, "in is a list of values"),
        ({"sac.gamma": {"in": [0.9, 2]}}, "sac.gamma=2.0: allowed is a number between 0 and 1"),
        ({"sac.gamma": {"truncated": [0.9]}}, r"truncated is \[low, high\]"),
        ({"sac.gamma": {"truncated": [0.99, 0.9]}}, "low < high"),
        ({"sac.gamma": {"truncated": [0, 2]}}, "sac.gamma=2.0: allowed is a number between 0 and 1"),
        ({"sac.learning_rate": {"truncated": [0, 1], "log": True}}, "above 0"),
        ({"sac.gamma": {"std": -1}}, "std is a number above 0"),
        ({"sac.gamma": {"std": 0.5}}, "add truncated"),
        ({"sac.trace": {"std": 0.5}}, "is no number"),
        ({"sac.gamma": {"std": 0.1, "log": True}}, "log is true or false, and goes with truncated alone"),
        ({"sac.n_step": {"truncated": [1.5, 3]}}, "whole number"),
        ({"sac.n_step": {"in": [1, "three"]}}, "sac.n_step=three: allowed is a whole number"),
        ({"repeat": {"in": [0, 1]}}, "seeds_per_trial"),
        ({}, "there is nothing to search"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused_in_words(params, words):
    with pytest.raises(UserError, match=words):
        ParameterSpace.of(OmegaConf.merge(CONFIG, {"random_params": params}))


def test_a_grid_needs_lists():
    found = space(sac__n_step={"in": [1, 3]}, sac__gamma={"in": [0.9, 0.95, 0.99]})
    assert len(grid(found)) == 6 and {"sac.n_step": 3, "sac.gamma": 0.95} in grid(found)
    with pytest.raises(UserError, match=r"random_params.sac.gamma has no list"):
        grid(space(sac__gamma={"truncated": [0.9, 0.99]}))


def test_an_unknown_form_names_the_key():
    with pytest.raises(UserError, match=r"random_params.sac.tau"):
        parse("sac.tau", {"between": [0, 1]}, 0.005)


def test_the_text_that_studies_have_stored_stays():
    """A study compares it with what it began with: another text would refuse to continue an older study."""
    found = space(
        sac__n_step={"in": [1, 3]}, sac__gamma={"truncated": [0.9, 0.99]}, sac__tau={"std": 0.001, "truncated": [0, 1]}
    )
    assert str(found) == (
        "sac.n_step: Choice(values=(1, 3)); sac.gamma: Uniform(low=0.9, high=0.99, log=False, whole=False); "
        "sac.tau: Normal(mean=0.005, std=0.001, low=0, high=1, whole=False)"
    )
