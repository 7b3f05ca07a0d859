"""Code that comes with a run folder runs only when it is known on this machine, or when the user says so."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from short_runs import PENDULUM, Runner

from sac.errors import UserError
from sac.runs import trust

QUICK = (*PENDULUM, "sac.updates_per_step=0", "base.max_step=5")
MINE = "from sac.nets.defaults import ModelQ as Default\n\n\nclass ModelQ(Default):\n    pass\n"
EVIL = MINE + "\n\nopen('evil.txt', 'w').close()\n"


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    monkeypatch.setenv(trust.STATE, str(tmp_path / "state"))
    return Runner(monkeypatch, capfd, tmp_path)


def elsewhere(monkeypatch, tmp_path: Path) -> None:
    """From now on this is another machine."""
    monkeypatch.setenv(trust.STATE, str(tmp_path / "state of another machine"))


def words_of(config: Path, **base) -> None:
    """Changes keys of a stored config."""
    stored = yaml.safe_load(config.read_text())
    stored["base"] |= base
    config.write_text(yaml.safe_dump(stored))


@pytest.mark.slow
def test_networks_from_elsewhere_run_when_they_are_trusted_and_are_asked_about_once(go, monkeypatch, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    go.ok(*QUICK, "base.nn=mine.py")
    go.ok("role=play", *PENDULUM)  # made here
    shutil.move(tmp_path / "m" / "pendulum" / "a", tmp_path / "m" / "pendulum" / "b")
    go.ok("role=play", *PENDULUM, "base.name=b")  # moved here
    elsewhere(monkeypatch, tmp_path)
    for typed in (["role=play"], ["ckpt=latest", "base.max_step=9"], ["-m", "hydra/launcher=basic", "role=play"]):
        outcome = go(*typed, *PENDULUM, "base.name=b")
        assert outcome.code == 1 and "code that is not known on this machine: m/pendulum/b/nn.py" in outcome.err
        assert "Traceback" not in outcome.err and "playing" not in outcome.out
    command = shlex.split(go("role=play", *PENDULUM, "base.name=b").error.split("this code): ")[1])
    assert "base.trust=true" in command
    go.ok(*command[2:], "eval.episodes=1")
    go.ok("role=play", *PENDULUM, "base.name=b")  # once
    go.ok("ckpt=latest", *PENDULUM, "base.name=b", "base.max_step=9")
    assert yaml.safe_load((tmp_path / "m" / "pendulum" / "b" / "config.yaml").read_text())["base"]["trust"] is False


@pytest.mark.slow
def test_networks_that_were_changed_are_asked_about_before_a_line_of_them_runs(go, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    go.ok(*QUICK, "base.nn=mine.py")
    (go.run().path / "nn.py").write_text(EVIL)
    words_of(go.run().path / "config.yaml", trust=True)  # it does not say it for us
    (tmp_path / "conf" / "env").mkdir(parents=True)
    text = "# @package _global_\ndefaults: [/env/gym/pendulum, _self_]\nbase: {trust: true}\n"
    (tmp_path / "conf" / "env" / "theirs.yaml").write_text(text)
    for typed in (["role=play"], ["ckpt=latest"], ["--config-dir", "conf", "role=play", "env=theirs"]):
        assert "nn.py" in go(*typed, *PENDULUM[typed[-1] == "env=theirs" :]).error
    assert not (tmp_path / "evil.txt").exists()
    go.ok("role=play", "base.trust=true", *PENDULUM)
    assert (tmp_path / "evil.txt").exists()


@pytest.mark.slow
def test_a_module_that_the_stored_config_names_is_asked_about_before_it_is_imported(go, monkeypatch, tmp_path):
    go.ok(*QUICK)
    elsewhere(monkeypatch, tmp_path)
    go.ok("role=play", *PENDULUM)  # Gymnasium's own environment and our networks: nobody's code
    (tmp_path / "evil.py").write_text("open('evil.txt', 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = go.run().path / "config.yaml"
    for base, words in (
        ({"build_path": "evil:Pendulum-v1"}, "the module evil, which base.build_path names (evil:Pendulum-v1)"),
        ({"build_path": "gym:evil:Pendulum-v1"}, "the module evil"),
        ({"build_path": "Pendulum-v1", "env_kwargs": {"a": [{"b": "evil:X-v0"}]}}, "which base.env_kwargs names"),
        ({"env_kwargs": {}, "nn_kwargs": {"ModelQ": {"dtype": {"module": "evil"}}}}, "base.nn_kwargs.ModelQ.dtype"),
        ({"nn_kwargs": {}, "build_path": "${base.name}"}, "the interpolation ${base.name}"),
        ({"build_path": "/tmp/evil", "env_type": "UNITY"}, "the program base.build_path=/tmp/evil"),
    ):
        words_of(config, **base)
        for typed in (["role=play"], ["ckpt=latest"]):
            assert words in go(*typed, *PENDULUM).error
    assert not (tmp_path / "evil.txt").exists()


@pytest.mark.parametrize(
    ("base", "asks"),
    [
        ("${reset}", True),
        ({"env_type": "GYM", "build_path": "Pendulum-v1"}, False),
        ({"env_type": "GYM", "build_path": "envs.hidden:H-v0", "env_kwargs": {"env_id": "A-v1"}}, False),
        ({"env_type": "GYM", "build_path": "envs.hidden:H-v0", "env_kwargs": {"env_id": "b:A-v1"}}, True),
        ({"env_type": "UNITY", "build_path": {"linux": "player:roller", "win32": "player:roller"}}, False),
        ({"env_type": "UNITY", "build_path": {"linux": "/x/Mine.x86_64"}}, True),
        ({"env_type": "GYM", "build_path": "A-v1", "nn": "nn", "env": "gym/pendulum"}, False),
        ({"env_type": "GYM", "build_path": "A-v1", "nn": "evil.networks", "env": "gym/pendulum"}, True),
        ({"env_type": "GYM", "build_path": "A-v1", "nn": "nn", "env": "../models/evil"}, True),
    ],
)  # fmt: skip
def test_what_counts_as_code(tmp_path, base, asks):
    assert bool(trust.pieces(tmp_path, {"base": base})) == asks


def test_the_networks_of_a_scene_in_envs_are_known(monkeypatch, tmp_path):
    monkeypatch.setattr(trust, "ENVS", tmp_path / "envs")
    (tmp_path / "envs" / "mine").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "envs" / "mine"):
        (folder / "nn.py").write_text(MINE)
    assert trust.pieces(tmp_path, None) == []
    with (tmp_path / "nn.py").open("a") as file:
        file.write("# changed\n")
    assert len(trust.pieces(tmp_path, None)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("state", ["/proc/no/such/folder", ""])
def test_a_home_that_cannot_be_written_costs_the_mark_and_not_the_run(go, monkeypatch, caplog, state):
    monkeypatch.setenv(trust.STATE, state)
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/no/such/folder")
    (go.folder / "mine.py").write_text(MINE)
    go.ok(*QUICK, "base.nn=mine.py")
    assert "resume and play will ask for base.trust=true" in caplog.text
    assert "base.trust=true" in go("role=play", *PENDULUM).error
    go.ok("role=play", "base.trust=true", *PENDULUM)


def test_a_cell_answers_for_its_roles_and_containers_for_themselves(go, monkeypatch, tmp_path):
    from omegaconf import OmegaConf

    from launchers.cells.role_jobs import trusted
    from launchers.jobs.job import Job
    from launchers.kubernetes_manifests.role_arguments import role_arguments

    (tmp_path / "mine.py").write_text(MINE)
    go.ok(*QUICK, "base.nn=mine.py")
    config = OmegaConf.load(go.run().path / "config.yaml")
    job = Job(0, tmp_path / "jobs", config, [], {})
    assert trusted(job).typed == {"base.trust": True} and job.typed == {}
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(UserError, match=r"the same command with base\.trust=true"):
        trusted(job)
    assert trusted(Job(0, tmp_path / "jobs", config, [], {"base.trust": True})).typed == {"base.trust": True}
    assert "base.trust=true" in role_arguments("learner", [], config, {"replay": "r", "learner": "l"}, 1)
