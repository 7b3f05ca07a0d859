"""What a run leaves behind, how it is called, and how names never collide."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest
import yaml
from short_runs import PENDULUM, Runner

from sac.config.run_names import resolved_name
from sac.files import write_atomically
from sac.runs.folder import RunFolder

BASIC = "hydra/launcher=basic"  # jobs one after the other in this process

NO_UPDATES = "sac.updates_per_step=0"  # nothing is traced: half a second a run


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


@pytest.mark.slow
def test_the_content_of_a_run_folder(go):
    nn = "from sac.nets.defaults import ModelQ as Default\n\n\nclass ModelQ(Default):\n    pass\n"
    (go.folder / "mine.py").write_text(nn)
    told = go.ok(*PENDULUM, "base.max_step=40", "base.nn=mine.py", "eval.per_step=20", "track.tensorboard=true")
    run = go.run()
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        "config.yaml",
        "scene.json",
        "nn.py",
        "checkpoints",
        "log",
        "log.log",
        "metrics.csv",
        "result.json",
    }
    assert (run.path / "nn.py").read_text() == nn
    text = (run.path / "config.yaml").read_text()
    stored = yaml.safe_load(text)
    assert "${" not in text and stored["seed"] == stored["sac"]["seed"] == 1 and stored["base"]["env"] == "gym/pendulum"
    assert run.steps == [40] and list((run.path / "log").iterdir())
    result = run.result
    assert (result["reason"], result["success"], result["env_steps"], result["seed"]) == ("max_step", True, 40, 1)
    assert result["objective"] == result["eval_return_mean"] < 0 and result["updates"] == 40 - 8
    evaluated = [int(row["env_step"]) for row in run.rows if row["eval/return"]]
    assert evaluated == [20, 40] and any(row["critic/loss"] for row in run.rows), "short runs have losses too"
    lines = told.out.splitlines()
    assert lines[-4].startswith("reached base.max_step after 40 steps")
    assert lines[-3:] == [
        "run:    m/pendulum/a",
        "play:   python run.py role=play env=gym/pendulum base.name=a base.models=m",
        "resume: python run.py ckpt=latest env=gym/pendulum base.name=a base.models=m",
    ]
    assert told.err == ""


@pytest.mark.slow
def test_an_existing_name_is_refused_with_the_words_to_resume_it(go):
    typed = (*PENDULUM, NO_UPDATES, "base.max_step=5", "base.name=my run")
    go.ok(*typed)
    before = (go.run("pendulum/my run").path / "config.yaml").read_text()
    words = go(*typed, "sac.gamma=0.5").error
    assert "exists already" in words and words.count("\n") == 1
    resume = re.search(r"To resume it: (python run.py .*?) ;", words)[1]
    assert (go.run("pendulum/my run").path / "config.yaml").read_text() == before
    go.ok(*shlex.split(resume)[2:], "base.max_step=9")
    assert go.run("pendulum/my run").steps == [5, 9]


@pytest.mark.slow
def test_a_run_that_ended_before_its_first_checkpoint_is_begun_again_by_what_is_printed(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    shutil.rmtree(go.run().path / "checkpoints")  # as after a kill
    words = go(*PENDULUM, NO_UPDATES, "base.max_step=5").error
    assert "exists already, without a checkpoint" in words
    go.ok(*shlex.split(re.search(r"To begin it again: (python run.py .*?) ;", words)[1])[2:])
    assert go.run().steps == [5]


def test_a_name_with_the_time(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5", "base.name='test_{time}'")
    (path,) = (go.folder / "m" / "pendulum").iterdir()
    assert re.fullmatch(r"test_\d{8}-\d{6}[A-Za-z]{4}", path.name)
    assert yaml.safe_load((path / "config.yaml").read_text())["base"]["name"] == path.name
    assert resolved_name("{time}") != resolved_name("{time}"), "seeds do not reach names"


@pytest.mark.slow
def test_a_multirun_shifts_the_seed_and_numbers_the_names(go):
    go.ok("-m", BASIC, *PENDULUM, NO_UPDATES, "base.max_step=5", "repeat=range(2)")
    assert [go.run(f"pendulum/a-{i}").result["seed"] for i in (0, 1)] == [1, 2]
    assert not go.run().path.exists()
    go.ok("-m", BASIC, *PENDULUM, NO_UPDATES, "base.max_step=5", "repeat=range(2)", "base.name='t{time}'")
    first, second = sorted(p.name for p in (go.folder / "m" / "pendulum").glob("t*"))
    assert first[:-2] == second[:-2] and (first[-2:], second[-2:]) == ("-0", "-1"), "one moment for all jobs"


@pytest.mark.slow
def test_a_multirun_can_be_repeated_resumed_and_played(go):
    typed = ("-m", BASIC, *PENDULUM, NO_UPDATES, "repeat=range(2)")
    go.ok(*typed, "base.max_step=5")
    assert "job 0 failed" in go(*typed, "base.max_step=5").err, "each name is taken"
    go.ok(*typed, "base.max_step=8", "ckpt=auto")
    assert [go.run(f"pendulum/a-{i}").steps for i in (0, 1)] == [[5, 8]] * 2
    assert [go.run(f"pendulum/a-{i}").result["seed"] for i in (0, 1)] == [1, 2], (
        "its own seed, not 1 + 0 and 1 + 1 again"
    )
    played = go.ok("-m", BASIC, "role=play", "env=gym/pendulum", "base.models=m", "base.name=a-0,a-1").out
    assert "playing m/pendulum/a-0" in played and "playing m/pendulum/a-1" in played


@pytest.mark.slow
def test_a_seed_is_drawn_and_recorded(go):
    typed = [word for word in PENDULUM if word not in ("seed=1", "base.name=a")]
    for name in ("a", "b"):
        go.ok(*typed, NO_UPDATES, "base.max_step=3", f"base.name={name}")
    seeds = [go.run(f"pendulum/{name}").result["seed"] for name in ("a", "b")]
    assert seeds[0] != seeds[1] and yaml.safe_load((go.run().path / "config.yaml").read_text())["seed"] == seeds[0]


@pytest.mark.slow
def test_a_run_that_cannot_begin_gives_its_name_back(go):
    typed = (*PENDULUM, NO_UPDATES, "base.max_step=3")
    assert "Nothing-v7" in go(*typed, "base.build_path=Nothing-v7").error
    assert "Nothing-v7" in go.run().log, "why it failed stays"
    log = go.run().path / "log.log"
    log.unlink()
    log.mkdir()
    assert go(*typed).error == "cannot write m/pendulum/a/log.log: Is a directory\n"
    log.rmdir()
    go.ok(*typed)


@pytest.mark.parametrize("logger_in_file", ["true", "false"])
def test_logger_in_file(go, logger_in_file):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=3", f"logger_in_file={logger_in_file}")
    assert (go.run().path / "log.log").exists() == (logger_in_file == "true")


# networks


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("class ModelQ(keras.layers.Layer):\n    def __init__(self, spec): super().__init__()\n"
         "    def call(self, z, action): return z",
         r"ModelQ in .*mine\.py must return Q columns of shape \(3, 1\), found \(3, 3\)"),
        ("class ModelQ(keras.layers.Layer):\n    def __init__(self): super().__init__()",
         r"ModelQ in .*mine\.py cannot be made"),
        ("import nothing_of_this_name", r"mine\.py, line 2, cannot be imported: ModuleNotFoundError"),
        ("def broken(:", r"mine\.py, line 2, cannot be imported: SyntaxError"),
    ],
)  # fmt: skip
def test_a_wrong_nn_py_is_named_with_what_was_expected_and_found(go, code, words):
    (go.folder / "mine.py").write_text(f"from sac.backend import keras\n{code}\n")
    typed = [word for word in PENDULUM if "nn_kwargs" not in word]
    error = go(*typed, "base.max_step=3", "base.nn=mine.py").error
    assert re.search(words, error), error
    assert error.count("\n") == 1, "one line"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("base.nn_kwargs.ModelZ.hidden=[3]", "base.nn_kwargs names ['ModelZ']"),
        ("base.nn_kwargs.ModelQ.width=3", "ModelQ"),
        ("base.nn=other", "base.nn=other: found none of envs/gym/pendulum/other.py, envs/gym/other.py"),
        ("base.nn=no.such.module", "base.nn=no.such.module: found none of the module no.such.module"),
        ("base.nn=/no/file.py", "base.nn=/no/file.py: found none of /no/file.py"),
    ],
)
def test_networks_that_are_not_there(go, typed, words):
    error = go(*PENDULUM, "base.max_step=3", typed).error
    assert words in error and error.count("\n") == 1


# files


def test_small_files_are_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_atomically(path, "old")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_result_on_a_full_disk_is_only_warned_of(tmp_path, caplog):
    RunFolder(tmp_path / "not there").write_result({"a": 1})
    assert "result.json could not be written" in caplog.text
