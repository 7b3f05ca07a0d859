"""What the launchers of populations refuse, in words that say what to do, before any process starts."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from tests.launchers.multiruns import Multirun

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"), pytest.mark.slow]
RAY = ("hydra/launcher=ray_roles", "hydra.launcher.learners=2")
NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
RATE = "+random_params={sac.learning_rate: {truncated: [1e-4, 1e-2], log: true}}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("hydra.launcher.learners=1",), "hydra.launcher.learners=1: allowed is a whole number at least 2"),
        (("eval.per_step=-1",), "set a number of steps, or base.evolver_fitness=training"),
        (("+random_params={replay.alpha: {truncated: [0.1, 0.9]}}",),
         "With base.evolver_strategy=none or cem each learner keeps what it has drawn"),
        (("+random_params={sac.init_log_alpha: {in: [-1, -2]}}",), "set sac.use_auto_alpha=false"),
        (("+random_params={sac.n_step: {std: 2}}",), "add truncated"),
        (("base.evolver_strategy=best",), "base.evolver_strategy=best: allowed is pbt | cem | none"),
        (("base.evolver_pbt_share=0.6",), "base.evolver_pbt_share=0.6: allowed is a number between 0 and 0.5"),
        (("base.evolver_learners=3",), "base.evolver_learners=3: leave it out, hydra.launcher.learners="),
        (("base.evolver_cem_length=1",), "base.evolver_cem_length=1: base.evolver_strategy=pbt needs at least 2"),
        (("base.evolver_explore=foo",), "base.evolver_explore=foo: allowed is perturb | tpe | cmaes"),
        (("role=play",), "role=play: hydra/launcher=population trains"),
        (("net=static",), "its learners need net=default"),
        (("base.evolver_share_replay=0.01",), "leaves no window of one kind"),
        (("base.evolver_share_replay=0.5", "base.evolver_enabled=false"), "without base.evolver_enabled=false"),
        (("hydra/launcher=roles", "hydra.launcher.learners=2", "base.evolver_share_replay=0.5"),
         "use hydra/launcher=population"),
        (("base.evolver_share_replay=0.5", "replay.batch_size=abc"), "replay.batch_size=abc: allowed is"),
        (("base.evolver_share_replay=0.5", "replay.keep_loaded=0.5"), "a batch has one second part"),
        ((*RAY, "net=static"), "Ray finds a place for each role"),
        pytest.param((*RAY, "eval.per_step=-1"), "set a number of steps", marks=NEEDS_RAY),
        pytest.param((*RAY, "role=learner"), "hydra.launcher.learners=2: a population has all roles", marks=NEEDS_RAY),
    ],
)  # fmt: skip
def test_what_cannot_be_a_population_is_refused_in_words(tmp_path, words, said):
    drawn = () if "random_params" in " ".join(words) else (RATE,)
    run = Multirun(tmp_path.resolve(), "hydra/launcher=population", "base.name=pop", *drawn, *words)
    assert run.wait(60) == 1
    assert said in " ".join(run.said.split()) and "Traceback" not in run.said, run.said
    assert run.children() == [] and not list(run.folder.rglob("job.log")), "no process was started"
