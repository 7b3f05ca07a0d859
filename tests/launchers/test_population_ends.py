"""How a population counts as ended, by processes that only say so; and what each of its learners is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from launchers.cells import members
from launchers.cells import population as populations
from launchers.cells.cell import Cell
from launchers.cells.members import Members, draws_of, population_of
from launchers.cells.population import Population
from launchers.cells.process import Process
from launchers.jobs.job import DONE, FAILED, INTERRUPTED, RUNNING, Job, Status
from launchers.jobs.resources import Share
from sac.errors import UserError
from tests.launchers.test_cell_ends import Told

ROLES = ("replay", "learner", "actor")


@pytest.fixture
def population(tmp_path):
    """A population of two, and its processes by number and role; that of the evolver by 0."""
    base = {"evolver_fitness": "training"}
    config = OmegaConf.create({"net": {"number": 1}, "ckpt": None, "base": base})
    job, share = Job(0, tmp_path, config, [], {}), Share(0, 1)
    told = {(number, role): Told() for number in (1, 2) for role in ROLES} | {0: Told()}

    def part(role, key):
        return Process(role, job, share, start=lambda *_: told[key])

    cells = [Cell(job, share, [part(role, (number, role)) for role in ROLES]) for number in (1, 2)]
    population = Population(job, share, cells, part("evolver", 0), [{"sac.tau": 0.00512345}, {}])
    population.start()
    return population, told


def end(population, told, number, **status) -> None:
    for role in ("learner", "actor", "replay"):
        told[number, role].now = Status(**status) if role == "learner" else Status(DONE)
        population.poll()


def test_it_ends_with_its_best_when_all_have_ended_and_then_the_evolver(population):
    population, told = population
    end(population, told, 1, state=DONE, result={"objective": -3.0})
    assert population.poll() is None and not told[0].asked
    end(population, told, 2, state=DONE, result={"objective": -7.0})
    assert population.poll() is None and told[0].asked
    told[0].now = Status(DONE)
    assert population.poll().result == {"objective": -3.0} and population.poll().state == DONE


def test_learners_that_are_single_processes_are_asked_to_save(tmp_path):
    config = OmegaConf.create({"net": {"number": 1}, "ckpt": None})
    job, share = Job(0, tmp_path, config, [], {}), Share(0, 1)
    told = [Told(), Told()]
    cells = [Cell(job, share, [Process("train", job, share, start=lambda *_, one=one: one)]) for one in told]
    population = Population(job, share, cells, None, [{}, {}])
    population.start()
    population.ask_to_end()
    assert population.poll() is None and all(one.asked for one in told)
    for one in told:
        one.now = Status(INTERRUPTED, error="SIGINT", result={"objective": -1.0})
    ended = population.poll()
    assert ended.state == INTERRUPTED and ended.result == {"objective": -1.0}


def test_who_fails_lets_the_others_save(population):
    population, told = population
    told[1, "learner"].now = Status(FAILED, error="ValueError: x", traceback="...")
    for _ in range(5):
        population.poll()
        told[1, "actor"].now = told[1, "replay"].now = Status(DONE)
    assert told[2, "actor"].asked, "in the order of a cell"
    end(population, told, 2, state=INTERRUPTED, result={})
    population.poll()
    told[0].now = Status(DONE)
    outcome = population.poll()
    assert (outcome.state, outcome.error, outcome.traceback) == (FAILED, "learner 1: learner: ValueError: x", "...")


def test_an_evolver_that_is_killed_starts_again_and_a_bug_in_it_ends_all(population):
    population, told = population
    told[0].now = Status(FAILED, error="killed by SIGKILL")
    population.poll()
    assert not told[1, "actor"].asked and population._evolver.restarts.count == 1
    told[0].now = Status(RUNNING)
    population._evolver.next_start = 0.0
    assert population.poll() is None and population._evolver.alive
    told[0].now = Status(FAILED, error="KeyError: 1", traceback="...")
    population.poll()
    assert told[1, "actor"].asked and told[2, "actor"].asked
    for number in (1, 2):
        end(population, told, number, state=INTERRUPTED, result={})
    assert population.poll().error == "evolver: KeyError: 1"


def test_an_interrupted_population_is_none_that_is_done(population):
    population, told = population
    population.ask_to_end()
    for number, state in ((1, DONE), (2, INTERRUPTED)):
        end(population, told, number, state=state, result={"objective": 9.0 * (number == 1)})
    population.poll()
    told[0].now = Status(DONE)
    assert population.poll().state == INTERRUPTED


def test_an_evolver_that_does_not_end_is_ended(population, monkeypatch):
    population, told = population
    for number in (1, 2):
        end(population, told, number, state=DONE, result={})
    assert population.poll() is None
    monkeypatch.setattr(populations, "EVOLVER_END_SECONDS", -1.0)
    assert population.poll().state == DONE


def test_the_table_shows_the_best_and_what_each_was_given(population):
    population, told = population
    told[1, "learner"].now, told[2, "learner"].now = Status(RUNNING, score=1.0, step=3), Status(RUNNING, score=2.0)
    assert population.status().score == 2.0
    names = [name for name, _ in population.processes()]
    assert names[0] == "evolver" and names[2] == "1: learner began with sac.tau=0.005123" and names[5] == "2: learner"


def job_with(random_params) -> Job:
    sac = {"seed": 3, "tau": 0.005, "gamma": 0.99}
    config = OmegaConf.create({"sac": sac, "random_params": random_params, "repeat": 0})
    return Job(0, None, config, [], {})


def test_draws_are_spread_over_the_whole_distribution_and_the_same_for_a_seed():
    job = job_with({"sac": {"tau": {"truncated": [0.0, 1.0]}, "gamma": {"in": [0.9, 0.95, 0.99]}}})
    draws = draws_of(job, 6)
    assert [int(6 * value) for value in sorted(draw["sac.tau"] for draw in draws)] == list(range(6))
    assert sorted(draw["sac.gamma"] for draw in draws) == [0.9, 0.9, 0.95, 0.95, 0.99, 0.99]
    assert draws == draws_of(job, 6)
    assert draws_of(job_with({}), 2) == [{}, {}]
    again = replace(job, config=OmegaConf.merge(job.config, {"repeat": 1}))
    assert draws_of(again, 6) != draws, "each repetition has draws of its own"


class Kept(Members):
    """Keeps the jobs of the learners, and makes cells without processes."""

    def __init__(self):
        self.jobs = []

    def cell(self, job, number):
        self.jobs.append(job)
        return Cell(job, Share(0, 1), [])


def test_what_was_drawn_outlives_a_restart_though_it_was_typed(tmp_path):
    kept = Kept()
    base = {"models": "m", "scene": "s", "name": "n", "evolver_enabled": False, "evolver_shared_start": True}
    config = {"base": base | {"evolver_start_seed": None}, "net": {}, "seed": 3}
    job = job_with({"sac.tau": {"std": 0.001}})
    job = replace(job, folder=tmp_path, config=OmegaConf.merge(job.config, config), typed={"sac.tau": 0.005, "seed": 3})
    population_of(job, Share(0, 1), 2, kept)
    given = kept.jobs
    assert {mine.config.base.evolver_start_seed for mine in given} == {3}, "one ancestor"
    assert len({mine.config.sac.seed for mine in given}) == 2
    records = str(Path("m/s/n/net").absolute())
    assert [mine.typed for mine in given] == [{"seed": 3, "net.evolver_records": records}] * 2, "also after a move"
    assert len({mine.config.sac.tau for mine in given}) == 2


def test_a_resumed_learner_is_shown_with_what_its_run_has_begun(tmp_path):
    """Without a seed each launch draws anew; the run keeps what the first one has drawn."""
    config = OmegaConf.create({"base": {"models": str(tmp_path), "scene": "s", "name": "n-1"}})
    assert members._begun_with(config, {"sac.tau": 0.5}) == {"sac.tau": 0.5}
    run = tmp_path / "s" / "n-1"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("base: {}\nreplay: {}\nsac: {tau: 0.25}\neval: {}\ntrack: {}\n")
    assert members._begun_with(config, {"sac.tau": 0.5, "sac.gamma": 0.9}) == {"sac.tau": 0.25, "sac.gamma": 0.9}
    (run / "config.yaml").write_text("sac: {tau: ")
    assert members._begun_with(config, {"sac.tau": 0.5}) == {"sac.tau": 0.5}, "the learner says what is wrong"


def test_in_a_search_learners_draw_nothing_and_nothing_moves(tmp_path):
    """The trial has chosen the values, also of keys that no learner could change while it trains."""
    kept, forms = Kept(), {"replay.alpha": {"in": [0.5]}}
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
        config = compose("config", ["env=gym/pendulum", "base.name=n", "replay.alpha=0.5", "sac.seed=3"])
    config.random_params = forms
    job = Job(0, tmp_path, config, [], {"replay.alpha": 0.5, "random_params": forms}, trial={"number": 1})
    members.check_population(job, 2)
    with pytest.raises(UserError, match="cannot move it"):
        members.check_population(replace(job, trial=None), 2)
    evolver = population_of(job, Share(0, 1), 2, kept)._evolver
    assert evolver.job.config.base.evolver_learners == evolver.job.typed["base.evolver_learners"] == 2, "it waits for"
    for mine in kept.jobs:
        assert mine.config.random_params == {} and mine.config.replay.alpha == 0.5
        assert mine.typed.keys() == {"replay.alpha", "net.evolver_records"}


@pytest.mark.parametrize("strategy", ["cem", "pbt"])
def test_proposals_without_effect_are_told(strategy, tmp_path, caplog):
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
        words = ["env=gym/pendulum", f"base.evolver_strategy={strategy}", "base.evolver_explore=tpe"]
        words += ["+random_params={sac.tau: {in: [1]}}"] if strategy == "cem" else []
        config = compose("config", words)
    members.check_population(Job(0, tmp_path, config, [], {}), 2)
    assert "base.evolver_explore=tpe has no effect" in caplog.text


@pytest.mark.parametrize(
    ("params", "words"),
    [({"sac.tao": {"in": [1]}}, "did you mean sac.tau"), ({"sac.tau": {"in": [9]}}, "allowed is"),
     ({"env": {"in": ["roller"]}}, "unknown key env"), ({"seed": {"in": [1]}}, "cannot be searched")],
)  # fmt: skip
def test_draws_that_make_no_sense_are_refused(params, words):
    with pytest.raises(UserError, match=words):
        draws_of(job_with(params), 2)


@pytest.mark.parametrize(("named", "objective"), [("learner-2", -7.0), ("learner-9", -3.0)])
def test_its_best_is_whom_the_evolver_names(population, named, objective):
    """The best evaluation of several is above the others by chance alone; a learner that it does not know is nobody."""
    population, told = population
    for number, value in ((1, -3.0), (2, -7.0)):
        end(population, told, number, state=DONE, result={"objective": value})
    population.poll()
    told[0].now = Status(DONE, result={"best": named, "mean_return": 1.0})
    outcome = population.poll()
    assert outcome.result == {"objective": objective}
    words = "the best of 2 learners is learner 2, whose newest training episodes have a mean return of 1"
    assert outcome.note == (words if objective == -7.0 else "")


def test_the_user_is_told_how_to_play_the_best(tmp_path, capsys):
    base = {"env": "gym/pendulum", "scene": "pendulum", "name": "pop-0", "models": str(tmp_path)}
    job = replace(job_with({}), config=OmegaConf.create({"base": base}), folder=tmp_path)
    ended = Status(DONE, folder="models/pendulum/pop-0-2", note="the best of 4 learners is learner 2")
    populations.say_best([(job, ended), (job, replace(ended, note="")), (job, replace(ended, state=FAILED))])
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "learner 2; play it with: " in said
    assert "run.py role=play env=gym/pendulum" in said and "base.name=pop-0-2" in said
    (tmp_path / "pendulum" / "pop-0").mkdir(parents=True)
    (tmp_path / "pendulum" / "pop-0" / "lineage.png").touch()
    populations.say_best([(job, ended)])
    assert "who descends from whom: " in capsys.readouterr().out
