"""Importances are drawn where they say something, and where the study lies below any path it is found again."""

from __future__ import annotations

import random
import shlex
import sqlite3

import optuna
import pytest
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from launchers.search import importances, results
from launchers.search.search import OVERRIDES
from launchers.search.study import StudySpec
from sac.errors import UserError
from tests.launchers.searches import by, done, search, value_of

pytestmark = pytest.mark.timeout(120)


def study(values, directions=("maximize",)) -> optuna.Study:
    """Trials at random places, whose first objectives are `values(x, y, random number)`."""
    made = optuna.create_study(directions=directions, sampler=optuna.samplers.RandomSampler(seed=0))
    draw = random.Random(0)
    for value in values:
        trial = made.ask()
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        value = value(x, y, draw.random()) if callable(value) else value
        made.tell(trial, [value, draw.random()][: len(directions)])
    return made


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0] * 30, "30 of 30 complete trials are equally good"),
        ([0.0] * 30, "30 of 30 complete trials are equally good"),
        ([lambda x, y, r: 1e6 + 1e-6 * r] * 30, "30 of 30 complete trials are equally good"),
        ([1.0] * 29 + [0.0], "29 of 30 complete trials are equally good"),
        ([lambda x, y, r: r] * 5, "5 complete trials say nothing of them, 10 are needed"),
        ([1.0] * 2, "2 of 2 complete trials are equally good"),
        ([], "0 complete trials say nothing of them"),
    ],
)
@pytest.mark.parametrize("directions", [("maximize",), ("minimize", "maximize")])
def test_no_picture_of_importances_that_say_nothing(values, words, directions):
    if values[-1:] == [0.0] and directions[0] == "minimize":
        values = [-value for value in values]
    made = study(values, directions)
    assert not importances.tell_something(made) and words in importances.caveat(made)


def test_below_twenty_trials_the_picture_has_a_caveat():
    few, many = study([lambda x, y, r: x] * 12), study([lambda x, y, r: x] * 25)
    assert importances.tell_something(few) and "of 12 complete trials: below 20 chance" in importances.caveat(few)
    assert "below 20 chance" in importances.draw(few, "objective").get_title()
    assert importances.tell_something(many) and importances.caveat(many) == ""


def test_of_several_objectives_the_good_end_of_the_first_counts():
    """`y` decides among the best trials, `x` among the worst: Optuna takes a low target for a good one."""
    made = study([lambda x, y, r: 10 + y if x > 0.1 else 10 * x] * 200, ("maximize", "minimize"))
    shares = get_param_importances(
        made, evaluator=PedAnovaImportanceEvaluator(), target=importances._first_but_low_is_good(made)
    )
    assert shares["y"] > shares["x"]


def test_a_search_says_so_and_draws_no_such_picture(tmp_path):
    one = search(tmp_path, 4)
    one.run(by(lambda job: done(1.0)))
    (tmp_path / "sweep" / "importances.png").write_text("of an earlier call")
    said = results.write(one)
    assert "note:     no picture of importances: 4 of 4 complete trials are equally good" in said
    assert "importances.png" not in said and not (tmp_path / "sweep" / "importances.png").exists()
    assert "history.png" in said


@pytest.mark.parametrize("name", ["100%", "a%20b", "a?x=1#y", "it's mine", "ü {x}@b:c"])
def test_a_study_below_any_path_is_opened_and_shown(tmp_path, name):
    folder = tmp_path / name / "sweep"
    one = search(tmp_path / name, 1)
    one.run(by(lambda job: done(value_of(job))))
    assert (folder / "study.db").is_file() and {p.name for p in tmp_path.iterdir()} == {name}
    with sqlite3.connect(folder / "study.db") as database:
        assert database.execute("select count(*) from trials").fetchone() == (1,)
    (line,) = [line for line in results.write(one).splitlines() if "optuna-dashboard" in line]
    program, url = shlex.split(line.removeprefix("show it:"))
    assert program == "optuna-dashboard"
    assert len(optuna.load_study(study_name="s", storage=url).trials) == 1


def test_what_follows_a_question_mark_in_a_url_of_the_user_is_no_path(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="write \\? as %3F"):
        StudySpec("s", f"sqlite:///{tmp_path}/a?b/study.db", ["maximize"]).open(create=True)
    assert list((tmp_path / "a").iterdir()) == [] and [p.name for p in tmp_path.iterdir()] == ["a"]
    StudySpec("s", f"sqlite:///{tmp_path}/study.db?timeout=9", ["maximize"]).open(create=True)
    assert (tmp_path / "study.db").is_file()


def test_a_password_is_in_no_command():
    assert StudySpec("s", "postgresql://me:secret@host/db", ["maximize"]).address is None
    assert StudySpec("s", "journal:/a b/journal.log", ["maximize"]).address == "/a b/journal.log"
    assert StudySpec("s", "nonsense", ["maximize"]).address is None


def test_a_trial_to_take_over_sets_nothing_that_is_not_searched(tmp_path):
    """Somebody else's study could name somebody else's code."""
    one = search(tmp_path, 2)
    trial = one.study.ask()
    trial.set_user_attr(OVERRIDES, ["sac.n_step=1", "++base.build_path=evil:Env-v0"])
    with pytest.raises(UserError, match=r"trial 0 of s sets base\.build_path, which is not searched"):
        one.run(by(lambda job: done(0.0)))
