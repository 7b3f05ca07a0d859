"""What the study is told of each job, and that no trial is lost, doubled or overwritten."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from launchers.jobs import job as states
from launchers.jobs.job import Job
from launchers.search.reporter import ERROR, STORAGE, Reporter
from launchers.search.search import OVERRIDES
from sac.config.validation import validated
from sac.errors import UserError
from tests.launchers.multiruns import ENV, ROOT
from tests.launchers.searches import ARGUMENTS, by, done, search, shipped, value_of

pytestmark = pytest.mark.timeout(120)


def states_of(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def test_optuna_itself_shows_parameters_and_values(tmp_path):
    search(tmp_path, 3).run(by(lambda job: done(value_of(job))))
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'sweep' / 'study.db'}")
    assert states_of(study) == ["COMPLETE"] * 3 and study.direction.name == "MAXIMIZE"
    for trial in study.trials:
        assert set(trial.params) == {"sac.learning_rate", "sac.n_step"}
        assert trial.value == -abs(trial.params["sac.learning_rate"] - 5e-4)


def test_jobs_get_what_was_drawn_and_a_name_of_their_own(tmp_path):
    jobs: list[Job] = []
    one = search(tmp_path, 3)
    one.run(by(lambda job: jobs.append(job) or done(0.0)))
    for job, trial in zip(jobs, one.study.trials):
        assert job.config.base.name == f"s-{trial.number:04}" and job.named
        assert {k: job.typed[k] for k in trial.params} == trial.params
        assert job.config.sac.n_step == trial.params["sac.n_step"] and job.config.seed == 0
        assert job.config.track.wandb_group == "s"
    assert len({job.folder for job in jobs}) == 3


def test_a_repeated_search_goes_on_to_the_total_with_new_draws(tmp_path):
    search(tmp_path, 2).run(by(lambda job: done(0.0)))
    again = search(tmp_path, 5)
    assert again.jobs_left == 3
    again.run(by(lambda job: done(0.0)))
    rates = [trial.params["sac.learning_rate"] for trial in again.study.trials]
    assert len(set(rates)) == 5 and again.jobs_left == 0
    search(tmp_path, 5).run(by(lambda job: pytest.fail("nothing is left to do")))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_what_is_drawn_depends_on_seed_and_history_alone(tmp_path, sampler):
    """In one call or in two, the draws are the same; with another seed they are not."""
    drawn = []
    for name, parts, seed in (("a", [5], 0), ("b", [2, 5], 0), ("c", [5], 1)):
        for n in parts:
            one = search(tmp_path / name, n, sampler=sampler, seed=seed)
            one.run(by(lambda job: done(value_of(job))))
        drawn.append([trial.params for trial in one.study.trials])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({params["sac.learning_rate"] for params in drawn[0]}) == 5


def test_a_job_that_fails_or_has_no_finite_value_makes_its_trial_fail_and_the_search_goes_on(tmp_path):
    answers = [done(None, states.FAILED, "it broke"), done(float("nan")), done(None), done(float("inf")), done(1.0)]
    one = search(tmp_path, 5)
    one.run(by(lambda job: answers[job.number]))
    assert states_of(one.study) == ["FAIL"] * 4 + ["COMPLETE"]
    assert "it broke" in one.study.trials[0].user_attrs[ERROR]
    assert "no finite objective" in one.study.trials[1].user_attrs[ERROR]


def test_a_pruned_job_makes_its_trial_pruned(tmp_path):
    one = search(tmp_path, 2, pruner="median")
    one.run(by(lambda job: done(0.0, states.PRUNED if job.number else states.DONE)))
    assert states_of(one.study) == ["COMPLETE", "PRUNED"]


def test_a_trial_that_was_interrupted_goes_on_in_the_next_call(tmp_path):
    one = search(tmp_path, 2)
    one.run(by(lambda job: done(None, states.INTERRUPTED) if job.number == 0 else done(1.0)))
    assert states_of(one.study) == ["RUNNING", "COMPLETE"]
    jobs, before = [], one.study.trials[0].user_attrs[OVERRIDES]
    again = search(tmp_path, 2)
    again.run(by(lambda job: jobs.append(job) or done(2.0)))
    (job,) = jobs
    assert job.number == 0 and job.config.ckpt == "auto" and job.overrides[1] == before[1]
    assert states_of(again.study) == ["COMPLETE"] * 2 and len(again.study.trials) == 2
    assert job.config.sac.learning_rate == again.study.trials[0].params["sac.learning_rate"]


def test_a_trial_whose_worker_was_killed_while_it_asked_gets_its_draw(tmp_path):
    one = search(tmp_path, 1)
    one.study.ask()  # and no more
    again = search(tmp_path, 1)
    again.run(by(lambda job: done(value_of(job))))
    (trial,) = again.study.trials
    assert trial.state == TrialState.COMPLETE and set(trial.params) == {"sac.learning_rate", "sac.n_step"}


def test_a_trial_of_a_worker_that_lives_is_left_alone(tmp_path):
    """The second search begins while the first one's first trial runs."""
    one, second = search(tmp_path, 3), []

    def answer(job):
        if not second:
            second.append(True)
            search(tmp_path, 3).run(by(lambda other: second.append(other.number) or done(0.0)))
        return done(0.0)

    one.run(by(answer))
    assert second[1:] == [1, 2]
    assert states_of(one.study) == ["COMPLETE"] * 3


@pytest.mark.parametrize("storage", [None, "journal"])
def test_two_processes_never_run_the_same_trial(tmp_path, storage):
    code = (
        "import sys, time; from pathlib import Path; from tests.launchers.searches import *\n"
        f"one = search(Path({str(tmp_path)!r}), 12, storage={storage!r})\n"
        "print(file=sys.stderr, flush=True); sys.stdin.readline()\n"  # both are ready
        "one.run(by(lambda job: print(job.number, flush=True) or time.sleep(0.1) or done(value_of(job)), at_once=2))\n"
    )
    words = [sys.executable, "-c", code]
    workers = [
        subprocess.Popen(
            words,
            cwd=ROOT,
            env=os.environ | ENV,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for worker in workers:
        worker.stderr.readline()
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    said = [worker.communicate(timeout=100)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sorted(int(n) for each in said for n in each) == list(range(12))
    assert all(said)  # both took part
    assert states_of(search(tmp_path, 12, storage=storage).study) == ["COMPLETE"] * 12


def test_the_median_of_the_seeds_counts(tmp_path):
    one, names = search(tmp_path, 2, seeds_per_trial=3), []
    values = [1.0, 5.0, 2.0, 0.0, 0.0, 9.0]
    one.run(by(lambda job: names.append(job.config.base.name) or done(values[job.number]), at_once=2))
    assert [trial.value for trial in one.study.trials] == [2.0, 0.0]
    assert names[:3] == ["s-0000-0", "s-0000-1", "s-0000-2"]


def test_a_seed_that_fails_spares_the_others_of_its_trial(tmp_path):
    one, ran = search(tmp_path, 2, seeds_per_trial=3), []
    one.run(by(lambda job: ran.append(job.number) or done(1.0, states.FAILED if job.number == 0 else states.DONE)))
    assert ran == [0, 3, 4, 5]
    assert states_of(one.study) == ["FAIL", "COMPLETE"]


def test_a_seed_that_failed_before_an_interruption_fails_its_trial(tmp_path):
    one = search(tmp_path, 1, seeds_per_trial=2)
    answers = [done(None, states.FAILED, "it broke"), done(None, states.INTERRUPTED)]
    one.run(by(lambda job: answers[job.number], at_once=2))
    assert states_of(one.study) == ["FAIL"]


def test_names_that_only_hydra_grammar_knows_reach_the_job(tmp_path):
    arguments = [
        "env=gym/pendulum", "base.nn=choice(nets/a.py,nets/b.py)", "++base.nn_kwargs.ModelQ.hidden=choice([8],[16])",
    ]  # fmt: skip
    one, jobs = search(tmp_path, 4, arguments, sampler="grid"), []
    one.run(by(lambda job: jobs.append(job) or done(0.0)))
    assert {(job.config.base.nn, *job.config.base.nn_kwargs.ModelQ.hidden) for job in jobs} == {
        ("nets/a.py", 8), ("nets/a.py", 16), ("nets/b.py", 8), ("nets/b.py", 16),
    }  # fmt: skip


def test_what_cannot_be_composed_is_one_trials_fault(tmp_path):
    """The others run, and a repeated search is not stuck on it."""
    one = search(tmp_path, 2)
    compose = one.job

    def job(number, *rest):
        if number == 0:
            raise ValueError("cannot be composed")
        return compose(number, *rest)

    one.job = job
    one.run(by(lambda job: done(0.0)))
    assert states_of(one.study) == ["FAIL", "COMPLETE"]
    assert one.study.trials[0].user_attrs[ERROR] == "cannot be composed"


def test_a_trial_that_a_dashboard_ended_is_left_alone(tmp_path):
    one = search(tmp_path, 2)

    def answer(job):
        if job.number == 0:
            one.study.tell(0, state=TrialState.FAIL)
        return done(1.0)

    one.run(by(answer))
    assert states_of(one.study) == ["FAIL", "COMPLETE"]


def test_a_trial_that_was_queued_by_hand_is_run_and_a_grid_goes_round_it(tmp_path):
    arguments = ["env=gym/pendulum", "sac.gamma=choice(0.9,0.99)", "sac.n_step=choice(1,3)"]
    one = search(tmp_path, 4, arguments, sampler="grid")
    one.study.enqueue_trial({"sac.gamma": 0.99, "sac.n_step": 3})
    one.run(by(lambda job: done(0.0)))
    assert len({tuple(trial.params.values()) for trial in one.study.trials}) == len(one.study.trials) == 4
    assert one.study.trials[0].params == {"sac.gamma": 0.99, "sac.n_step": 3}


def test_several_objectives_make_a_pareto_front(tmp_path):
    goals = {"objective": "maximize", "seconds": "minimize"}
    one = search(tmp_path, 3, objectives=goals, sampler="nsga2")
    one.run(by(lambda job: done(float(job.number))))
    assert one.study.trials[2].values == [2.0, 1.0] and [t.number for t in one.study.best_trials] == [2]


def test_a_grid_is_walked_once(tmp_path):
    arguments = ["env=gym/pendulum", "sac.gamma=choice(0.9,0.99)", "sac.n_step=choice(1,3,5)"]
    search(tmp_path, 4, arguments, sampler="grid").run(by(lambda job: done(0.0)))
    one = search(tmp_path, 100, arguments, sampler="grid")
    assert one.jobs_left == 2
    one.run(by(lambda job: done(0.0)))
    assert len({tuple(trial.params.values()) for trial in one.study.trials}) == len(one.study.trials) == 6


def test_no_trial_begins_after_the_time_is_up(tmp_path):
    one = search(tmp_path, 50, minutes=0.002)
    one.run(by(lambda job: __import__("time").sleep(0.2) or done(0.0)))
    assert 1 <= len(one.study.trials) < 5


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "nsga2"])
def test_each_sampler_samples(tmp_path, sampler):
    arguments = [ARGUMENTS[0], ARGUMENTS[1], "sac.gamma=interval(0.9,0.99)"]
    one = search(tmp_path, 3, arguments, sampler=sampler)
    one.run(by(lambda job: done(value_of(job))))
    assert states_of(one.study) == ["COMPLETE"] * 3


# --- pruning, from inside a job


def reporter(one, number: int, seed: int = 0, seeds: int = 1) -> Reporter:
    from dataclasses import asdict

    folder = one.folder / f"{number}-{seed}"
    folder.mkdir()
    told = {"study": asdict(one.spec), "number": number, "id": one._id(number), "seed": seed, "seeds": seeds}
    os.environ[STORAGE] = one.spec.storage
    try:
        made = Reporter(folder, told | {"reports": True})
    finally:
        del os.environ[STORAGE]
    made._per_step = 100
    return made


@pytest.mark.parametrize("storage", [None, "journal"])
def test_the_pruner_is_asked_at_each_evaluation(tmp_path, storage):
    one = search(tmp_path, 9, pruner="median", pruner_kwargs={"n_startup_trials": 1}, storage=storage)
    good, bad = one.study.ask(), one.study.ask()
    first = reporter(one, good.number)
    assert first.promising(100, 10.0) and first.promising(200, 20.0)
    one.study.tell(good.number, 20.0)
    second = reporter(one, bad.number)
    assert second.promising(101, 11.0)  # is compared at 100
    assert not second.promising(201, 1.0)
    assert one.study.trials[1].intermediate_values == {100: 11.0, 200: 1.0}


def test_hyperband_ends_worse_trials_and_needs_steps_to_divide(tmp_path):
    arguments = [*ARGUMENTS, "base.max_step=900", "eval.per_step=100"]
    one, pruned = search(tmp_path, 99, arguments, pruner="hyperband"), 0
    for k in range(12):
        trial = one.study.ask()
        made = reporter(one, trial.number)
        pruned += not all(made.promising(100 * i, -float(k)) for i in range(1, 9))
        one.study.tell(trial.number, -float(k))
    assert 3 <= pruned <= 11
    with pytest.raises(UserError, match=r"hyperband divides base.max_step"):
        search(tmp_path / "b", 2, [*ARGUMENTS, "base.max_step=-1", "base.max_iter=5"], pruner="hyperband")


def test_with_several_seeds_the_median_is_reported_and_all_hear_the_verdict(tmp_path):
    one = search(tmp_path, 9, pruner="median", pruner_kwargs={"n_startup_trials": 1}, seeds_per_trial=3)
    good, bad = one.study.ask(), one.study.ask()
    assert reporter(one, good.number).promising(100, 5.0)
    one.study.tell(good.number, 5.0)
    seeds = [reporter(one, bad.number, seed, 3) for seed in range(3)]
    assert seeds[0].promising(100, 1.0) and seeds[1].promising(100, 9.0)  # not all have spoken
    assert not seeds[2].promising(100, 2.0)
    assert one.study.trials[1].intermediate_values == {100: 2.0}
    assert not seeds[0].promising(200, 100.0)


def test_a_database_that_is_damaged_costs_the_report_not_the_run(tmp_path, caplog):
    one = search(tmp_path, 9, pruner="median")
    made = reporter(one, one.study.ask().number)
    with sqlite3.connect(one.folder / "study.db") as database:
        database.execute("DROP TABLE trial_user_attributes")
    assert made.promising(100, 1.0)
    assert "could not be asked" in caplog.text


# --- refusals


@pytest.mark.parametrize("damage", [lambda data: data[:5000], lambda data: bytes(9000)])
def test_a_damaged_database_says_how_to_go_on(tmp_path, damage):
    done(search(tmp_path, 1), by(value_of))
    (file,) = tmp_path.rglob("study.db")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=r"study\.db: .*put a copy of the file in its place, or begin another search"):
        search(tmp_path, 2)


@pytest.mark.parametrize("storage", [None, "journal"])
def test_an_emptied_study_is_no_new_search(tmp_path, storage):
    done(search(tmp_path, 1, storage=storage), by(value_of))
    (file,) = [*tmp_path.rglob("study.db"), *tmp_path.rglob("journal.log")]
    jobs = file.parent / "jobs" / "0"
    jobs.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"")
    with pytest.raises(UserError, match=f"{file.name} is empty, as after a power cut"):
        search(tmp_path, 2, storage=storage)


def test_an_option_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"unknown key hydra.sweeper.n_trial: did you mean hydra.sweeper.n_trials"):
        search(tmp_path, n_trial=3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "tpa"}, "hydra.sweeper.sampler=tpa: allowed is tpe"),
        ({"pruner": "mean"}, "hydra.sweeper.pruner=mean: allowed is none"),
        ({"sampler_kwargs": {"startup": 3}}, "TPESampler has .*n_startup_trials"),
        ({"pruner": "median", "pruner_kwargs": {"warmup": 3}}, "MedianPruner has .*n_warmup_steps"),
        ({"objectives": {"objective": "up"}}, "each to maximize or minimize"),
        ({"objectives": {"objective": "maximize", "seconds": "minimize"}, "pruner": "median"}, "its only objective"),
        ({"seeds_per_trial": 0}, "hydra.sweeper.seeds_per_trial=0"),
        ({"minutes": 0}, "hydra.sweeper.minutes=0"),
        ({"n_trials": "many"}, "hydra.sweeper.n_trials=many: allowed is a whole number"),
        ({"study_name": "a/b"}, "hydra.sweeper.study_name=a/b: allowed is a folder name"),
        ({"sampler_kwargs": 3}, "hydra.sweeper.sampler_kwargs=3"),
        ({"pruner_kwargs": 3}, "hydra.sweeper.pruner_kwargs=3"),
        ({"objectives": {"objektive": "maximize"}}, "of some of objective"),
        ({"storage": "nothing://here"}, "hydra.sweeper.storage=nothing://here"),
        ({"sampler": "grid"}, "has no list of values"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_words(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        search(tmp_path, **options)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*ARGUMENTS, "base.max_step=-1"], "base.max_step"),
        ([*ARGUMENTS, "eval.per_step=-1"], "eval.per_step"),
        ([*ARGUMENTS, "repeat=range(3)"], "seeds_per_trial"),
        (ARGUMENTS[:1], "there is nothing to search"),
        ([*ARGUMENTS, "role=play"], "a search trains"),
        ([*ARGUMENTS, "ckpt=latest"], "trials begin anew"),
        ([*ARGUMENTS, "env=choice(roller,rollerr)"], "no such file conf/env/rollerr.yaml; did you mean env=roller"),
    ],
)
def test_a_search_that_could_not_end_or_compare_is_refused(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words):
        search(tmp_path, arguments=arguments)


def test_other_settings_under_the_same_name_are_refused(tmp_path):
    search(tmp_path, 1, [*ARGUMENTS, "base.max_step=500"]).run(by(lambda job: done(0.0)))
    with pytest.raises(UserError, match=r"begun with other settings: \[.*max_step=500.*; now .*max_step=900"):
        search(tmp_path, 2, [*ARGUMENTS, "base.max_step=900"])
    search(tmp_path, 2, [*ARGUMENTS, "base.max_step=500", "track.csv=false", "base.threads=1"])


def test_another_space_under_the_same_name_is_refused(tmp_path):
    search(tmp_path, 1).run(by(lambda job: done(0.0)))
    with pytest.raises(UserError, match=r"begun with other random_params.*Choose another hydra.sweeper.study_name"):
        search(tmp_path, 2, [*ARGUMENTS[:2], "sac.n_step=choice(1,2)"])
    assert len(search(tmp_path, 1).study.trials) == 1


def test_gp_says_which_extra_it_needs(tmp_path):
    if find_spec("torch") and find_spec("scipy"):
        pytest.skip("the extra gp is installed")
    with pytest.raises(UserError, match=r"\[gp\]"):
        search(tmp_path, sampler="gp")


@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "conf" / "sweep").glob("*.yaml"))])
@pytest.mark.parametrize("env", ["roller"])
def test_every_sweep_file_makes_valid_jobs(tmp_path, monkeypatch, env, name):
    monkeypatch.chdir(tmp_path)
    sweep, jobs = shipped(f"env={env}", f"sweep={name}", "hydra.sweeper.n_trials=2"), []
    sweep._pool = by(lambda job: jobs.append(validated(job.config)) or done(1.0))
    assert sweep.run([f"env={env}", f"sweep={name}"]) in (1.0, None)
    assert len(jobs) == 2 and (Path("models") / jobs[0].base.scene / "sweeps" / name / "trials.csv").is_file()


def test_the_folder_of_a_search_holds_the_database(tmp_path):
    assert Path(search(tmp_path).folder / "study.db").is_file()
