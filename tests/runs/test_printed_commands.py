"""Whatever is printed as a command works when it is pasted into a shell, whatever the names hold."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from launchers.jobs.job import Job
from launchers.jobs.processes import _cell_command
from launchers.search import results
from sac.config.overrides import override, run_command, same_command
from sac.config.schema import Config
from sac.track.wandb_run import sync_command
from tests.launchers.searches import ARGUMENTS, by, done, search, value_of
from tests.runs.short_runs import TINY, RunFiles

ROOT = Path(__file__).parents[2]
NAMES = {"base.scene": "Rea cher's", "base.name": """my "run", it's {a}=1 $HOME ü""", "base.models": "all my models"}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def shell(tmp_path):
    """`shell(line)`: what a user sees after pasting the line, in a folder of its own, where `python` is this one."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}

    def paste(line: str) -> str:
        found = subprocess.run(line, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
        assert found.returncode == 0, (line, found.stdout, found.stderr)
        return found.stdout

    return paste


def command_after(word: str, said: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith(word)]
    return line.removeprefix(word).strip()


@pytest.mark.slow
def test_play_and_resume_of_a_run_with_strange_names_and_a_scene_of_its_own(shell, tmp_path):
    quick = [word for word in TINY if not word.startswith(("base.models=", "base.name="))]
    words = [*quick, "sac.updates_per_step=0", "base.max_step=5", "base.build_path=Pendulum-v1"]
    typed = " ".join([*map(shlex.quote, words), *(override(key, value) for key, value in NAMES.items())])
    said = shell(f"python {shlex.quote(str(ROOT / 'run.py'))} env=gym/acrobot {typed}")
    run = RunFiles(tmp_path / NAMES["base.models"] / NAMES["base.scene"] / NAMES["base.name"])
    assert run.steps == [5]
    assert "mean return" in shell(command_after("play:", said))
    shell(command_after("resume:", said) + " base.max_step=9")
    assert run.steps == [5, 9]


@pytest.mark.slow
def test_a_file_that_a_search_found_runs_where_the_search_was(shell, tmp_path, monkeypatch):
    """Its study's name holds blanks; it was begun with a scene of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(ROOT / "run.py")])
    one = search(Path("my models"), 2, [*ARGUMENTS, "base.scene=other"], study_name="my study")
    one.run(by(lambda job: done(value_of(job))))
    said = shell(command_after("run it:", results.write(one)) + " --cfg job")
    assert "scene: other" in said and "models: my models" in said and "learning_rate" in said


def config(**base) -> Config:
    from omegaconf import OmegaConf

    return OmegaConf.create(
        {"base": {"env": "gym/pendulum", "scene": "pendulum", "name": "a", "models": "models", **base}}
    )


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ({}, "env=gym/pendulum base.name=a"),
        ({"scene": "reacher"}, "env=gym/pendulum base.scene=reacher base.name=a"),
        ({"env": "roller/hard", "scene": "roller"}, "env=roller/hard base.name=a"),
        ({"env": "mine", "scene": "x"}, "base.scene=x base.name=a"),
        ({"env": None, "scene": "x", "models": "a b"}, """base.scene=x base.name=a 'base.models="a b"'"""),
    ],
)
def test_the_scene_is_named_where_the_env_alone_would_mean_another_one(monkeypatch, base, words):
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert run_command(config(**base), "role=play") == f"python run.py role=play {words}"


def test_every_shipped_env_means_the_scene_that_its_config_has(monkeypatch):
    from hydra import compose, initialize_config_dir

    from sac.config.overrides import ENVS, _scene_of

    with initialize_config_dir(str(ENVS.parent), version_base="1.3"):
        for env in (
            "gym/pendulum",
            "gym/pendulum/hidden_velocity",
            "roller/hard",
            "3dball/hard",
            "gym/mountain_car/rnd",
        ):
            assert _scene_of(env) == compose("config", [f"env={env}"]).base.scene


def test_a_cell_goes_on_by_what_was_typed_with_the_name_that_it_got(monkeypatch):
    job = Job(1, Path("x"), config(name="20261129-0000abcd-1"), [], {}, roles=True)
    begun = ["run.py", "-m", "env=gym/pendulum", "hydra/launcher=roles", "repeat=range(2)"]
    for more, words in ([], " base.name=20261129-0000abcd"), (['base.name="t {time}"'], " base.name=20261129-0000abcd"):
        monkeypatch.setattr(sys, "argv", [*begun, *more])
        assert _cell_command(job) == f"python run.py -m env=gym/pendulum hydra/launcher=roles 'repeat=range(2)'{words}"
    monkeypatch.setattr(sys, "argv", [*begun, 'base.name="my cell"'])
    assert shlex.split(_cell_command(job))[1:] == sys.argv == shlex.split(same_command())[1:]


@pytest.mark.parametrize("value", ["${seed}", "a ${x} b", "$HOME", 'say "${x}"', "a\\", "%s", "!x", "`ls`", "*"])
def test_any_text_comes_back_as_it_was(value):
    from omegaconf import OmegaConf

    (word,) = shlex.split(override("base.name", value))
    (parsed,) = OverridesParser.create().parse_overrides([word])
    assert OmegaConf.create({"x": parsed.value()}).x == value


def test_a_folder_that_begins_like_an_option_is_none():
    assert sync_command([Path("-m/pendulum/a/wandb/offline-run-1")]) == "wandb sync ./-m/pendulum/a/wandb/offline-run-1"
