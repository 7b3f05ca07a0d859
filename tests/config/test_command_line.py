"""What a user may type wrong: one line that names the key, never a traceback. And what must work."""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from program import Program, program  # noqa: F401

from sac.config.overrides import override
from sac.config.overrides import program as program_name

BASIC = "hydra/launcher=basic"  # jobs one after the other in this process

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("sac.gama=1", "unknown key sac.gama: did you mean sac.gamma?"),
        ("+sac.gama=1", "unknown key sac.gama: did you mean sac.gamma?"),
        ("++sac.gama=1", "unknown key sac.gama: did you mean sac.gamma?"),
        ("gamma=0.9", "unknown key gamma: did you mean sac.gamma?"),
        ("scc.gamma=0.9", "unknown key scc.gamma: did you mean sac.gamma?"),
        ("evn=roller", "unknown key evn: did you mean env?"),
        ("sac.qqqqq=1", "unknown key sac.qqqqq: see conf/*/default.yaml for every key"),
        ("sac.gamma=2", "sac.gamma=2.0: allowed is a number between 0 and 1"),
        ("sac.gamma=abc", "sac.gamma=abc: allowed is a number between 0 and 1"),
        ("sac.gamma=null", "sac.gamma=null: allowed is a number between 0 and 1"),
        ("sac.gamma=nan", "sac.gamma=nan: must be a finite number"),
        ("sac.gamma=${nope}", "sac.gamma: Interpolation key 'nope' not found"),
        ("sac.n_step=1.5", "sac.n_step=1.5: allowed is a whole number at least 1"),
        ("sac.trace=v", "sac.trace=v: allowed is vtrace | retrace"),
        ("sac.jit=maybe", "sac.jit=maybe: allowed is true or false"),
        ("base.threads=0", "base.threads=0: allowed is a whole number at least 1 or null"),
        ("base.nn_kwargs=3", "base.nn_kwargs=3: allowed is a mapping"),
        ("base.name=a/b", "base.name=a/b: allowed is a folder name"),
        ("base.name=", "base.name=: allowed is a folder name"),
        ("base.build_path={linux: x}", "with base.env_type=GYM it is an environment id"),
        ("ckpt=newest", "ckpt=newest: allowed is null | auto | latest | best | a step"),
        ("ckpt=true", "ckpt=True: allowed is null | auto | latest | best | a step"),
        ("render=loud", "render=loud: allowed is false | true | window | video"),
        ("replay.capacity=10", "replay.capacity=10 must exceed replay.batch_size=256"),
        ("sac.ensemble_q_sample=3", "sac.ensemble_q_sample=3 exceeds sac.ensemble_q_num=2"),
        ("sac.burn_in_step=4", "it needs sac.use_rnn=true"),
        ("sac.refresh_state=true", "it needs sac.use_rnn=true and sac.burn_in_step"),
        ("sac.learning_rate_end=1", "sac.learning_rate_end=1.0 exceeds sac.learning_rate=0.001"),
        ("~sac.gamma", "the config has no value for sac.gamma"),
        ("sac=big", "sac=big: no such file conf/sac/big.yaml; available: default"),
        ("base=null", "base=null: no such file conf/base/null.yaml"),
        ("reset=3", "reset=3: no such file conf/reset/3.yaml"),
        ("role=trane", "role=trane: no such file conf/role/trane.yaml; did you mean role=train?"),
        ("sac.gamma", "missing EQUAL"),
        ("sac.gamma={a", "quote it for the shell"),
        ("base.name=test_{time}", """quote it for the shell, e.g. 'base.name="test_{time}"'"""),
        ("sac.gamma=0.9,0.8", "add --multirun"),
        ("--config-name=nope", "Cannot find primary config 'nope'"),
        ("--config-dir=/no/such/folder", "--config-dir /no/such/folder: no such folder"),
    ],
)
def test_one_line_names_the_key(program, typed, words):  # noqa: F811
    assert words in program.error("env=gym/pendulum", typed)


def test_no_env_and_an_unknown_env(program):  # noqa: F811
    for typed in ([], ["-m"], ["seed=1"]):
        assert "no environment was chosen: add env=<name>, for example env=roller" in program.error(*typed)
    assert "did you mean env=gym/pendulum?" in program.error("env=gym/pendulm")
    assert "available: 3dball, 3dball/hard, bullet/ant, " in program.error("env=zzz")


def test_unity_parameters_are_numbers(program):  # noqa: F811
    assert "reset.wind=strong: Unity's environment parameters are numbers" in program.error(
        "env=roller", "+reset.wind=strong"
    )


@pytest.mark.slow
def test_free_form_sections_take_new_names_with_and_without_a_plus(program):  # noqa: F811
    for plus in ("", "+", "++"):
        config = program.config("env=roller/hard", f"{plus}reset.foo=1", f"{plus}base.nn_kwargs.ModelQ.hidden=[3,4]")
        assert config.reset == {"hide_velocity": 1, "foo": 1}
        assert config.base.nn_kwargs == {"ModelQ": {"hidden": [3, 4]}}
    config = program.config("env=gym/lunar_lander", "base.env_kwargs={wind_power: 3}", "reset={wind: strong}")
    assert config.base.env_kwargs == {"continuous": True, "wind_power": 3} and config.reset == {"wind": "strong"}
    swept = program("-m", BASIC, "env=roller", "reset.foo=1,2", "base.build_path.linux=/x/y").configs
    assert [c.reset["foo"] for c in swept] == [1, 2]
    assert swept[0].base.build_path == {"win32": "player:roller", "linux": "/x/y", "darwin": "player:roller"}


def test_a_users_own_env_file(program, tmp_path):  # noqa: F811
    (tmp_path / "mine" / "env").mkdir(parents=True)
    good = "# @package _global_\ndefaults: [/env/gym/pendulum, _self_]\nsac: {gamma: 0.5}\nreset: {wind: 3}\n"
    (tmp_path / "mine" / "env" / "good.yaml").write_text(good)
    (tmp_path / "mine" / "env" / "bad.yaml").write_text(good.replace("gamma", "gama"))
    (tmp_path / "mine" / "env" / "worse.yaml").write_text(good + "colour: red\n")
    config = program.config("--config-dir", "mine", "env=good", "+reset.rain=1")
    assert (config.sac.gamma, config.base.scene, config.reset) == (0.5, "pendulum", {"wind": 3, "rain": 1})
    assert "unknown key sac.gama: did you mean sac.gamma?" in program.error("env=bad", "--config-dir=mine")
    assert "unknown key colour" in program.error("env=worse", "-cd", "mine")
    assert "did you mean env=good?" in program.error("env=goood", "--config-dir", "mine")
    assert "no such file" in program.error("env=good")


def test_v_c_above_v_rho_is_only_warned_of(program, caplog):  # noqa: F811
    assert program.config("env=gym/pendulum", "sac.v_c=2").sac.v_c == 2
    assert "sac.v_c=2.0 exceeds sac.v_rho=1.0" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("off", ["sac.use_auto_alpha=false", "sac.discrete_dqn_like=true"])
def test_a_schedule_of_the_target_entropy_that_nothing_follows_is_warned_of(program, caplog, off):  # noqa: F811
    program.config("env=gym/cart_pole", off)
    assert not caplog.text
    assert program.config("env=gym/cart_pole", off, "sac.target_entropy_ratio_end=0.1").sac.target_entropy_ratio_end
    assert f"sac.target_entropy_ratio_end has no effect with {off}" in caplog.text


@pytest.mark.parametrize(
    ("typed", "allowed"),
    [
        ("sac.target_entropy_ratio_end=1.5", "a number between 0 and 1 or null"),
        ("sac.target_entropy_ratio_updates=0", "a whole number at least 1"),
        ("sac.soft_target=perhaps", "true or false or null"),
    ],
)
def test_entropy_that_makes_no_sense_is_refused(program, typed, allowed):  # noqa: F811
    assert f"{typed}: allowed is {allowed}" == program.error("env=gym/cart_pole", typed)


def test_the_failed_job_of_a_multirun_is_named_and_the_others_run(program):  # noqa: F811
    outcome = program("-m", BASIC, "env=gym/pendulum", "sac.gamma=2,0.5")
    assert outcome.code == 1 and [c.sac.gamma for c in outcome.configs] == [0.5]
    assert "error: sac.gamma=2.0: allowed" in outcome.err and "error: job 0 failed" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_bug_shows_its_traceback_from_our_code_on(program, monkeypatch):  # noqa: F811
    def broken(_):
        raise ZeroDivisionError("one / nothing")

    monkeypatch.setattr("sac.config.validation.check_combinations", broken)
    outcome = program("env=gym/pendulum")
    assert outcome.code == 1 and outcome.err.startswith("Traceback")
    assert outcome.err.splitlines()[-1] == "ZeroDivisionError: one / nothing"
    assert "hydra/_internal" not in outcome.err


def test_help_is_quick_our_own_and_without_tensorflow():
    code = (
        "import sys, atexit; atexit.register(lambda: print([m for m in ('tensorflow', 'numpy', 'keras') "
        "if m in sys.modules])); sys.argv = ['run.py', '--help']; import run; run.main()"
    )
    quick = 2 * min(cpu_of("import hydra")[1] for _ in range(3))  # so it is about us and not about the machine
    seconds = []
    for _ in range(3):
        done, took = cpu_of(code)
        seconds.append(took)
        if took < quick:
            break
    assert done.returncode == 0 and "Soft Actor-Critic for Unity" in done.stdout
    assert "env/gym: acrobot, cart_pole" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]", "what --help imports"
    assert min(seconds) < quick, (seconds, quick)


def cpu_of(code: str) -> tuple[subprocess.CompletedProcess, float]:
    """What Python did with it, and the seconds of CPU that it took: a busy machine says nothing about us."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_cfg_and_completion(program):  # noqa: F811
    shown = program("env=gym/pendulum", "--cfg", "job")
    assert shown.code == 0 and "build_path: Pendulum-v1" in shown.out and "hydra" not in shown.out.split("env:")[0]
    assert program("--cfg", "job").code == 0
    completion = program("--shell-completion", "install=bash")
    assert completion.code == 0 and "complete" in completion.out


@pytest.mark.parametrize(
    "name",
    ["a", "a_1.b-c", "12", "1e3", "1_000", "true", "Null", "nan", "inf", "a b", "it's", 'say "hi"', "a,b", "x=1",
     "$HOME", "{time}", "(1)", "[a]", "a:b", "a#b", "~", "-x", "a\\\\b", "back\\"],
)  # fmt: skip
def test_printed_commands_mean_what_they_say(name):
    (word,) = shlex.split(override("base.name", name))
    (parsed,) = OverridesParser.create().parse_overrides([word])
    assert parsed.key_or_group == "base.name" and parsed.value() == name


def test_plain_names_need_no_quotes_and_the_program_is_called_as_it_was(monkeypatch, tmp_path):
    assert override("base.models", "../my-runs/x_1") == "base.models=../my-runs/x_1"
    installed = tmp_path / "sac-run"
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for called, shown in (
        ("run.py", "python run.py"),
        ("/a b/run.py", "python '/a b/run.py'"),
        (str(installed), "sac-run"),
        ("/venv/bin/sac-run", "/venv/bin/sac-run"),  # another one than the shell would find
        ("/usr/bin/pytest", "python run.py"),
    ):
        monkeypatch.setattr(sys, "argv", [called])
        assert program_name() == shown
    monkeypatch.setenv("SAC_PROGRAM", "sac-run")  # a launcher's child
    assert program_name() == "sac-run"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["env=gym/pendulum", "sweep=random"], "needs -m"),
        (["env=gym/pendulum", "hydra/sweeper=optuna"], "needs -m"),
        (["-m", "env=gym/pendulum", "sweep=sac,random"], "one search at a time"),
        (["-m", "env=gym/pendulum", "sweep=sak"], "did you mean sweep=sac?"),
        (
            ["-m", "env=gym/pendulum", "hydra.launcher.n_jobs=abc"],
            "hydra.launcher.n_jobs=abc: allowed is a whole number",
        ),
        (["-m", "env=gym/pendulum", "hydra.launcher.grace=null"], "hydra.launcher.grace"),
        (["-m", "env=gym/pendulum", "hydra.launcher.gpus=0"], "hydra.launcher.gpus=0: allowed is a list"),
        (["-m", "env=gym/pendulum", "hydra.sweeper.max_batch_size=1"], "hydra.sweeper.max_batch_size: leave it out"),
        (["-m", "env=gym/pendulum", "sweep=sac", "hydra/launcher=basic"], "leave out hydra/launcher"),
        (
            ["-m", "env=gym/pendulum", "sweep=sac", "hydra.sweeper.sampler=tpa"],
            "hydra.sweeper.sampler=tpa: allowed is tpe",
        ),
        (["-m", "env=gym/pendulum", "base.models=/proc/no", "repeat=1"], "/proc/no"),
        (
            ["-m", "env=gym/pendulum", "base.models=/etc/hostname"],
            "(base.models, base.scene and base.name choose the folder",
        ),
        (["-m", "env=gym/pendulum", "hydra.launcher.n_job=2"], "n_job: did you mean hydra.launcher.n_jobs?"),
        (["-m", "env=gym/pendulum", "hydra.sweap.dir=x"], "did you mean hydra.sweep.dir?"),
        (["-m", "env=gym/pendulum", "hydra.launcher.zzz=1"], "see conf/hydra/*/*.yaml for every key"),
        (["-m", "env=gym/pendulum", "hydra.launcher.image=x"], "only hydra/launcher=kubernetes has this option"),
        (["-m", "env=gym/pendulum", "hydra.launcher.learners=4"], "hydra/launcher=roles have this option"),
        (["-m", "env=gym/pendulum", "sweep=sac", "hydra.sweeper.folder=/proc/no"], "hydra.sweeper.folder=/proc/no"),
    ],
)
def test_a_multirun_that_makes_no_sense_is_refused_in_one_line(program, typed, words):  # noqa: F811
    assert words in program.error(*typed)
