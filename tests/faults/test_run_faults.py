"""Signals (F6), crashes, full disks (F11), damage (F12), NaN (F13) and dead players (F14), in whole runs."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import faulty_envs
import gymnasium
import numpy as np
import pytest
import stuck_run
import toys
from faulty_envs import factory, send
from short_runs import PENDULUM, Runner

from tests.full_disk import small_files

NO_UPDATES = "sac.updates_per_step=0"
AGAIN = ("env=gym/pendulum", "base.models=m", "base.name=a")


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


@pytest.fixture
def at(monkeypatch):
    """`at({step: action})`: the next runs play the scripted environment, to which this happens."""

    def patch(moments):
        from sac.roles.train import train

        monkeypatch.setattr("sac.roles.run", lambda config: train(config, factory(moments)))

    return patch


# signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_ends_in_order(go, at, number, code):
    at({20: send(number)})
    told = go(*PENDULUM, NO_UPDATES, "base.max_step=100", "eval.per_step=1000")
    assert told.code == code and f"{number.name}: saving, then ending (once more to end at once)" in told.err
    assert f"ended by {number.name} after 20 steps" in told.out
    run = go.run()
    assert run.steps == [20] and run.result["reason"] == number.name and not run.result["success"]
    assert run.result["eval_episodes"] == 0, "no evaluation delays the end"
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
    at({})
    go.ok(*AGAIN, "ckpt=latest", "base.max_step=30")
    assert run.result["env_steps"] == 30


def test_a_signal_cuts_an_evaluation_short(go, monkeypatch):
    from sac.roles.train import train

    def make_env(config, *, n_agents=None, **_):
        env = faulty_envs.At(1, {3: send(signal.SIGTERM)} if made else {})
        made.append(env)
        return env

    made = []
    monkeypatch.setattr("sac.roles.run", lambda config: train(config, make_env))
    assert go(*PENDULUM, NO_UPDATES, "eval.per_step=10", "eval.episodes=99", "base.max_step=500").code == 75
    assert go.run().steps == [10] and go.run().result["eval_episodes"] == 0 and made[1].count == 3


def test_play_saves_nothing_and_says_so(go, at, monkeypatch):
    at({})
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    from sac.roles.play import play

    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        moments = {40: send(number)}
        monkeypatch.setattr("sac.roles.run", lambda config, moments=moments: play(config, factory(moments)))
        told = go("role=play", *AGAIN, "eval.episodes=50")
        assert told.code == code and f"{number.name}: ending" in told.err and "mean return" in told.out


def children_of(pid: int) -> list[int]:
    """All processes below, by parent ids."""
    lines = subprocess.run(["ps", "-eo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in lines.splitlines()]
    found = [pid]
    for parent in found:
        found += [int(row[0]) for row in rows if int(row[1]) == parent and not row[2].startswith("Z")]
    return found[1:]


def alive(pids: list[int]) -> list[int]:
    lines = subprocess.run(["ps", "-eo", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    living = {int(row[0]) for row in map(str.split, lines.splitlines()) if not row[1].startswith("Z")}
    return sorted(living & set(pids))


def test_a_second_signal_ends_at_once_and_leaves_no_process(tmp_path):
    command = [sys.executable, stuck_run.__file__, *PENDULUM, NO_UPDATES]
    env = os.environ | {"PYTHONPATH": str(faulty_envs.ROOT)}
    below = []
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "stuck").exists():
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
            below = children_of(process.pid)
            assert len(below) >= 5, "a guard, a player, three workers"
            process.send_signal(signal.SIGINT)
            line = next(line for line in process.stderr if line.strip())
            assert "once more to end at once" in line and process.poll() is None
            before = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 143 and time.monotonic() - before < 5
            while alive(below) and time.monotonic() < before + 15:
                time.sleep(0.1)
            assert not alive(below)
            assert "ended at once" in process.stderr.read()
        finally:
            process.kill()
            for pid in alive(below):
                os.kill(pid, signal.SIGKILL)


def test_kill_9_of_a_run_while_it_saves(go):
    """The real program, killed when a temporary folder appears; then resumed."""
    command = [sys.executable, str(faulty_envs.ROOT / "run.py"), *PENDULUM, "sac.save_model_per_minute=1e-9"]
    folder = go.run().path / "checkpoints"
    with subprocess.Popen(command, cwd=go.folder, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (len(list(folder.glob("step_*"))) > 3 and list(folder.glob(".tmp-*"))):
            assert process.poll() is None and time.monotonic() < deadline
        process.kill()
    step = go.run().steps[-1]
    told = go.ok(*AGAIN, "ckpt=latest", f"base.max_step={step + 20}", "sac.save_model_per_minute=5")
    assert f"resumed at step {step}" in told.err and go.run().result["env_steps"] == step + 20
    assert not list(folder.glob(".tmp-*"))


def test_damaged_networks_of_the_newest_checkpoint_come_from_the_one_before(go):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=10")
    go.ok(*AGAIN, "ckpt=latest", "base.max_step=20")
    file = go.run().checkpoints[-1] / "agent.npz"
    file.write_bytes(file.read_bytes()[:-50])
    told = go.ok(*AGAIN, "ckpt=latest", "base.max_step=30").err
    assert "step_000000000020 is damaged (agent.npz does not match its sha256)" in told
    assert "resumed at step 20" in told and go.run().steps[-1] == 30, "its memory and counters are intact"
    for file in go.run().path.glob("checkpoints/*/agent.npz"):
        file.write_bytes(b"")
    error = go(*AGAIN, "ckpt=latest").error.splitlines()[-1]
    assert "the memory of step_000000000030 is intact, a new run takes it by replay.load=m/pendulum/a" in error
    assert error.endswith("every checkpoint in m/pendulum/a/checkpoints is damaged (3 tried)")


# full disks


def test_no_room_at_start(go, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1_000_000))
    error = go(*PENDULUM).error
    assert "1 MB are free, the checkpoints of this run need up to" in error and error.count("\n") == 1
    with small_files(2000):  # config.yaml is larger
        assert "cannot write m/pendulum/a/config.yaml: File too large" in go(*PENDULUM).error
    (go.folder / "file").touch()
    assert "cannot write the run folder file/pendulum/a" in go(*PENDULUM, "base.models=file").error


def test_a_checkpoint_that_cannot_be_written_stops_nothing(go, at):
    """Files cannot grow from step 20 to step 40; the next checkpoint is as good as ever."""
    with contextlib.ExitStack() as full:
        at({20: lambda _: full.enter_context(small_files(8000)), 40: lambda _: full.close()})
        told = go.ok(*PENDULUM, NO_UPDATES, "base.max_step=60", "sac.save_model_per_minute=1e-9", "track.csv=false")
    warning = "this checkpoint could not be written ([Errno 27] File too large); training goes on, earlier ones stay"
    assert told.err.count(warning) == 20 and "Traceback" not in told.err
    run = go.run()
    assert run.steps == [*range(51, 61)] and not list((run.path / "checkpoints").glob(".tmp-*"))


def test_a_last_state_that_cannot_be_saved_is_an_error(go, at):
    with contextlib.ExitStack() as full:
        at({20: lambda _: full.enter_context(small_files(8000))})
        told = go(*PENDULUM, NO_UPDATES, "base.max_step=30", "sac.save_model_per_minute=1e-9", "track.csv=false")
    assert "the last state could not be saved in m/pendulum/a/checkpoints: [Errno 27] File too large" in told.error
    assert go.run().steps[-1] == 19, "the one before is there"
    at({})
    go.ok(*AGAIN, "ckpt=latest", "base.max_step=40")


def test_a_disk_that_is_full_before_the_first_checkpoint(go, at):
    with contextlib.ExitStack() as full:
        at({20: lambda _: full.enter_context(small_files(8000))})
        told = go(*PENDULUM, NO_UPDATES, "base.max_step=30", "sac.save_model_per_step=1000", "track.csv=false")
    words = "the last state could not be saved in m/pendulum/a/checkpoints: [Errno 27] File too large"
    assert told.error == f"{words}; no checkpoint exists yet\n" and go.run().steps == []
    assert go.run().result["reason"] == told.error.strip() and go.run().result["env_steps"] == 30
    assert not go.run().result["success"]
    with contextlib.ExitStack() as full:
        at({20: lambda _: full.enter_context(small_files(8000)), 25: lambda _: full.close()})
        told = go.ok(*PENDULUM, NO_UPDATES, "base.max_step=30", "base.name=b", "sac.save_model_per_minute=1e-9")
    assert "training goes on, no checkpoint exists yet" in told.err or "earlier ones stay" in told.err


@pytest.fixture
def disk(tmp_path):
    """A disk of 64 MB and its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        for size in (2**20, 2**10, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


def test_a_full_disk_stops_nothing(go, at, disk):
    """From step 20 to step 40 nothing can be written; the run goes on."""
    at({20: lambda _: fill(disk), 40: lambda _: (disk / "filler").unlink()})
    typed = [word for word in PENDULUM if not word.startswith("base.models")] + [f"base.models={disk}"]
    told = go.ok(*typed, "base.max_step=60", "sac.save_model_per_step=10", "eval.per_step=3", "track.tensorboard=true")
    assert "No space left on device); training goes on, earlier ones stay" in told.err
    assert "Traceback" not in told.err and "Logging error" not in told.err
    folder = disk / "pendulum" / "a"
    steps = sorted(int(path.name[5:]) for path in (folder / "checkpoints").iterdir())
    assert steps[-1] == 60 and steps[0] < 20 and not any(20 <= step < 40 for step in steps)
    assert (folder / "metrics.csv").read_text().startswith("env_step") and (folder / "result.json").exists()


def test_a_full_disk_at_start(go, disk):
    fill(disk)
    typed = [word for word in PENDULUM if not word.startswith("base.models")] + [f"base.models={disk}"]
    error = go(*typed).error
    assert "No space left on device" in error and error.count("\n") == 1


# numbers that are none


def test_a_diverged_run_says_so_and_saves_nothing_of_it(go, at):
    at({30: lambda env: setattr(env, "reward_scale", 1e38)})
    told = go(*PENDULUM, "base.max_step=500", "sac.save_model_per_minute=1e-9", "replay.td_error_max=1e30")
    assert re.match(r"training has diverged: after \d+ updates .*(critic|policy).* is not finite", told.error)
    assert "sac.learning_rate too large" in told.error and told.error.count("\n") == 1
    run = go.run()
    assert "training has diverged" in run.log and "Traceback" not in run.log
    assert run.log.count("the networks of step") == 3 and "are back (3 of 3 times)" in run.log
    with np.load(run.path / "diverged.npz") as windows:
        assert windows["reward"].shape[-2:] == (8, 1), "the windows that were learnt from are there to look at"
    for i in range(len(run.checkpoints)):
        assert all(np.isfinite(a).all() for name, a in run.arrays(i).items() if a.dtype.kind == "f" and "agent" in name)


def test_spoilt_weights_are_never_saved(go, at, monkeypatch):
    at({15: send(signal.SIGTERM)})
    monkeypatch.setattr("sac.agent.agent.Agent.state", spoilt(10))
    error = go(*PENDULUM, NO_UPDATES, "base.max_step=100").error
    assert "training has diverged: after 0 updates policy/0 is not finite" in error and not go.run().steps


def test_a_learner_whose_evolver_is_asked_for_other_weights_ends_in_order(go, at, monkeypatch):
    at({15: send(signal.SIGTERM)})
    monkeypatch.setattr("sac.agent.agent.Agent.state", spoilt(10))
    told = go(*PENDULUM, NO_UPDATES, "base.max_step=100", "base.evolver_enabled=true", "eval.per_step=50")
    assert told.code == 75 and go.run().result["reason"] == "SIGTERM" and not go.run().steps
    assert "the last state was not saved: no checkpoint exists yet" in go.run().log


def spoilt(_):
    return lambda agent: ({"policy/0": np.array([np.nan], np.float32)}, {})


def register(name, entry_point):
    gymnasium.register(id=name, entry_point=entry_point, max_episode_steps=50)
    return f"base.build_path={name}"


def test_one_nan_goes_on_and_ten_in_a_row_end(go):
    once = register("Once-v0", lambda **_: toys.Fragile({(3, 2): "obs", (5, 1): "reward"}))
    told = go.ok(*PENDULUM, NO_UPDATES, "base.max_step=60", once)
    assert told.err.count("NaN or infinity in") == 2 and go.run().result["env_steps"] == 60
    always = register("Always-v0", lambda **_: toys.Fragile({(episode, 1): "reward" for episode in range(3, 99)}))
    error = go(*PENDULUM, NO_UPDATES, "base.max_step=600", "base.name=b", always).error.splitlines()[-1]
    assert "10 times without a good step in between; look into the environment" in error


# bugs of an environment, and who is told


def outcome_in_wandb(run) -> int | None:
    """Exit code in the run's offline log."""
    sys.path.append(str(faulty_envs.ROOT / "tests" / "track"))
    from test_wandb_run import held

    return held(run.path)[4]


@pytest.fixture
def wandb_home(monkeypatch, tmp_path):
    for name in [n for n in os.environ if n.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    hooks = sys.exit, sys.excepthook
    yield
    sys.exit, sys.excepthook = hooks


def test_wandb_tells_finished_interrupted_and_crashed_runs_apart(go, at, wandb_home):
    tracked = (*PENDULUM, NO_UPDATES, "base.max_step=30", "track.wandb=offline")

    def bug(_):
        raise RuntimeError("wheel came off")

    at({})
    go.ok(*tracked)
    at({10: send(signal.SIGTERM)})
    assert go(*tracked, "base.name=b").code == 75
    at({10: bug})
    told = go(*tracked, "base.name=c")
    assert told.code == 1 and told.err.splitlines()[-1] == "RuntimeError: wheel came off"
    codes = [outcome_in_wandb(go.run(f"pendulum/{name}")) for name in "abc"]
    assert codes == [0, 75, 1]
    log = go.run("pendulum/c").log
    assert "the run failed: wheel came off" in log and "in bug" in log, "with its traceback"


def test_an_env_that_raises(go):
    broken = register("Broken-v0", lambda **_: toys.Breaking("raise"))
    told = go(*PENDULUM, NO_UPDATES, "base.max_step=30", broken)
    assert told.code == 1 and told.err.splitlines()[-1] == "RuntimeError: wheel came off"
    assert (go.run().path / "metrics.csv").read_text().startswith("env_step")


# Unity


UNITY = [word.replace("gym/pendulum", "roller") for word in PENDULUM] + ["base.n_agents=2", "eval.stop_return=null"]
PORT = 22000 + os.getpid() % 500 * 10


def test_a_player_killed_in_mid_episode(go, monkeypatch):
    from unity_runs import player_pid

    from sac import assemble
    from sac.roles.train import train

    def make_env(config, **keywords):
        env, count = assemble.make_env(config, **keywords), iter(range(10**6))
        real = env.step

        def step(action):
            if next(count) == 60:
                killed.append(player_pid(env))
                os.kill(killed[-1], signal.SIGKILL)
            return real(action)

        env.step = step
        return env

    killed = []
    monkeypatch.setattr("sac.roles.run", lambda config: train(config, make_env))
    told = go.ok(*UNITY, NO_UPDATES, "base.max_step=300", f"base.port={PORT}")
    assert len(killed) == 1 and "the player was killed by SIGKILL; restart 1 of 10" in told.err
    assert go.run("roller/a").result["env_steps"] >= 300


def test_missing_builds_taken_ports_and_silent_players(go):
    import socket

    error = go(*UNITY, "base.build_path=/no/such/Build").error
    assert "base.build_path=/no/such/Build: no such Unity build. Looked for:" in error and "player:roller" in error
    silent = go.folder / "Silent.x86_64"
    silent.write_text("#!/bin/sh\nsleep 60\n")
    silent.chmod(0o755)
    error = go(*UNITY, f"base.build_path={silent}", "base.timeout=10", f"base.port={PORT}").error
    assert "did not answer for 10 s" in error and "no Decision Requester" in error
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", PORT))
        taken.listen()
        told = go.ok(*UNITY, NO_UPDATES, "base.max_step=50", f"base.port={PORT}")
    assert f"base.port: {PORT} is taken, using {PORT + 1}" in told.err


def test_evaluation_looks_for_its_port_next_to_the_trainings(go):
    told = go.ok(*UNITY, NO_UPDATES, "base.max_step=50", "eval.per_step=40", f"base.port={PORT}")
    assert told.err == "" and go.run("roller/a").result["eval_episodes"] > 0
    assert {f"player-{port}.out" for port in (PORT, PORT + 1)} <= {p.name for p in go.run("roller/a").path.iterdir()}


@pytest.fixture(scope="module", autouse=True)
def nothing_stays_behind():
    before = set(children_of(os.getpid()))  # multiprocessing's own resource tracker, left by other tests
    yield
    assert not alive([p for p in children_of(os.getpid()) if p not in before]), (
        "a process of these tests is still there"
    )
