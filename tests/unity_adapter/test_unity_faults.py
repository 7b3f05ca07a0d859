"""What goes wrong with players: nothing to start, ports, deaths, silence, NaN. Nothing may hang or stay behind."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from envs.unity_adapter import process, server
from envs.unity_adapter.env import UnityEnv
from envs.unity_adapter.restart_budget import RestartBudget
from sac.errors import UserError
from tests.envs.unity_runs import PORT, ROOT, act, group_of, player_pid, playing, program, turns, wait_until_gone


def script(folder, text, mode=0o755):
    path = folder / "Build.x86_64"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


# nothing to start


def test_a_missing_build_says_what_was_looked_for(tmp_path):
    with pytest.raises(UserError) as error:
        UnityEnv(str(tmp_path / "Nothing"))
    for words in ("Nothing.x86_64", "base.build_path", "player:roller"):
        assert words in str(error.value)


@pytest.mark.parametrize("build_path", [None, "", {}, {"beos": "/tmp/x"}, {sys.platform: None}])
def test_no_build_for_this_platform(build_path):
    with pytest.raises(UserError, match=r"base\.build_path"):
        UnityEnv(build_path)


def test_a_build_without_the_x_bit(tmp_path):
    path = script(tmp_path, "true", mode=0o644)
    with pytest.raises(UserError, match=r"not executable. Run: chmod \+x"):
        UnityEnv(str(path))


def test_unknown_stand_ins_are_refused_with_the_known_names():
    with pytest.raises(UserError, match=r"ball3d, .*roller, workshop, zoo"):
        UnityEnv("player:nonsense")
    with pytest.raises(UserError, match="no such stand-in"):
        UnityEnv("player:protocol/../roller")


def test_a_build_is_found_without_its_suffix_and_in_odd_folders(tmp_path):
    folder = tmp_path / "my game.app" / "a folder"
    folder.mkdir(parents=True)
    path = script(folder, "true")
    assert process.find_executable(str(path.with_suffix(""))) == path
    assert process.find_executable({sys.platform: str(path)}) == path


def test_a_build_that_cannot_be_run(tmp_path):
    path = tmp_path / "Build"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    with pytest.raises(UserError, match="cannot start"):
        UnityEnv(str(path), port=PORT)


# ports


def test_a_taken_port_is_passed_over_and_logged(caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", PORT))
        taken.listen()
        with caplog.at_level(logging.WARNING), playing("roller") as env:
            assert env.port > PORT
            act(env, env.reset())
    assert f"{PORT} is taken" in caplog.text


def test_parallel_jobs_get_different_ports():
    with playing("roller") as first, playing("roller") as second, playing("roller") as third:
        assert len({first.port, second.port, third.port}) == 3
        for env in (first, second, third):
            assert len(act(env, env.reset()).agents) == 2


def test_a_port_is_free_again_after_close():
    for _ in range(3):
        with playing("roller") as env:
            assert env.port == PORT


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux")
def test_only_this_machine_can_connect():
    with playing("roller") as env:
        tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        lines = [line.split() for line in tables.splitlines()]
        listening = {line[1] for line in lines if line[3] == "0A" and line[1].endswith(f":{env.port:04X}")}
    loopbacks = {"0100007F", "0000000000000000FFFF00000100007F", "0" * 24 + "01000000"}  # as IPv4, mapped, IPv6
    assert listening and {address.partition(":")[0] for address in listening} <= loopbacks


def test_the_editors_port_taken():
    with contextlib.ExitStack() as stack:
        if server.is_free(server.EDITOR_PORT):
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", server.EDITOR_PORT))
            taken.listen()
        with pytest.raises(UserError, match="needs port 5004"):
            UnityEnv(editor=True)


def test_the_editor_is_attached_to_without_starting_anything(tmp_path):
    """A player started by hand on the editor's port stands in for the editor."""
    if not server.is_free(server.EDITOR_PORT):
        pytest.skip("an editor's training runs on this machine")
    command = [sys.executable, "-m", "envs.players.roller", "--mlagents-port", str(server.EDITOR_PORT)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as editor:
        env = UnityEnv(editor=True, n_agents=3, timeout=20)
        try:
            assert act(env, env.reset()).agents.tolist() == [0, 1, 2]
            editor.kill()
            with pytest.raises(UserError, match="the editor cannot be restarted"):
                env._connection.server.timeout = 1.0
                turn = env.reset()
                for _ in range(3):
                    turn = act(env, turn)
        finally:
            env.close()


# players that do not come, or go


def test_a_player_that_never_connects(tmp_path):
    path = script(tmp_path, "echo waiting for nothing; sleep 300")
    before = time.monotonic()
    with pytest.raises(UserError) as error:
        UnityEnv(str(path), port=PORT, timeout=2, log_folder=tmp_path / "logs")
    assert time.monotonic() - before < 10
    for words in ("did not answer for 2 s", "Behavior Type", "Decision Requester", "waiting for nothing"):
        assert words in str(error.value)
    assert (tmp_path / "logs" / f"player-{PORT}.out").exists()


def test_a_player_that_ends_at_once_is_noticed_at_once(tmp_path):
    path = script(tmp_path, "echo libGL is missing >&2; exit 3")
    before = time.monotonic()
    with pytest.raises(UserError, match=r"(?s)exit code 3.*libGL is missing"):
        UnityEnv(str(path), port=PORT, timeout=60)
    assert time.monotonic() - before < 5


def test_arguments_reach_the_player(tmp_path):
    path = script(tmp_path, 'echo "$@"; exit 1')
    with pytest.raises(UserError) as error:
        UnityEnv(str(path), scene="Hall", port=PORT, extra_args=["--level", 3], timeout=10, log_folder=tmp_path)
    log = tmp_path / f"player-{PORT}.log"
    wanted = f"-nographics -batchmode --mlagents-port {PORT} --scene Hall --level 3 -logFile {log}"
    assert wanted in str(error.value)


def test_a_killed_player_is_replaced_and_its_episodes_are_lost(caplog):
    with playing("roller", n_agents=3) as env:
        turn = act(env, env.reset())
        first = player_pid(env)
        os.kill(first, signal.SIGKILL)
        before = time.monotonic()
        with caplog.at_level(logging.WARNING):
            turn = act(env, turn)
        assert time.monotonic() - before < 8
        assert sorted(turn.lost.tolist()) == [0, 1, 2]
        assert turn.agents.tolist() == [0, 1, 2] and not len(turn.ended.agents)
        assert "SIGKILL" in caplog.text and "restart 1 of 10" in caplog.text
        assert player_pid(env) != first
        for _ in range(20):
            turn = act(env, turn)
            assert not len(turn.lost)
        guard = env._connection.player.process.pid
        os.kill(player_pid(env), signal.SIGKILL)
        with pytest.raises(UserError, match=r"(?s)SIGKILL.*Not restarted: it died again"):
            act(env, turn)
    assert wait_until_gone(guard)


def test_a_player_that_dies_before_a_reset_is_replaced():
    with playing("roller", n_agents=2) as env:
        env.reset()
        os.kill(player_pid(env), signal.SIGKILL)
        turn = env.reset()
        assert turn.agents.tolist() == [0, 1] and not len(turn.lost)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault, words",
    [("die", r"(?s)exit code 7.*the zoo burns down"), ("leave", r"exit code 0"), ("hang", "did not answer")],
)
def test_a_player_that_keeps_dying_ends_the_run(fault, words):
    with playing(timeout=2.0, **{fault: 4}) as env, pytest.raises(UserError, match=words):
        turns(env, 30)


def test_the_budget_of_restarts():
    now = [0.0]
    budget = RestartBudget(total=3, seconds=60.0, clock=lambda: now[0])
    assert budget.refusal() is None
    now[0] = 59.0
    assert "59 s after a restart" in budget.refusal()
    for now[0] in (61.0, 130.0):
        assert budget.refusal() is None
    now[0] = 1000.0
    assert "restarted 3 times" in budget.refusal()


# values that are no numbers


@pytest.mark.parametrize(
    "kind, named", [("nan_obs", "sensor State holds nan at place 1"), ("nan_reward", "reward is nan")]
)
def test_nan_loses_its_agent_and_nobody_else(kind, named, caplog):
    with caplog.at_level(logging.WARNING), playing(n_agents=3, episode=50, nan_ticks=2, **{kind: 4}) as env:
        played = turns(env, 8)
        assert env.faults == 2
    assert [turn.agents.tolist() for turn in played[3:7]] == [[0, 1, 2], [1, 2], [1, 2], [0, 1, 2]]
    assert [turn.lost.tolist() for turn in played[3:7]] == [[], [0], [], []]
    for turn in played:
        assert all(np.isfinite(data).all() and len(data) == len(turn.agents) for data in turn.obs.values())
        assert np.isfinite(turn.reward).all() and len(turn.mask) == len(turn.agents)
    assert "Unity agent 0" in caplog.text and named in caplog.text


def test_others_keep_their_own_actions_beside_a_refused_row():
    with playing(n_agents=3, episode=50, nan_obs=2) as env:
        turn = turns(env, 2)[-1]
        assert turn.agents.tolist() == [1, 2]
        turn = act(env, turn, 0.5)
    assert turn.obs["State_2"][:, 0].tolist() == [0.0, 0.5, 0.5]


def test_nan_in_a_last_observation_loses_the_episode():
    with playing(n_agents=2, episode=5, nan_obs=5) as env:
        last = turns(env, 5)[-1]
    assert last.ended.agents.tolist() == [1] and last.lost.tolist() == [0]
    assert last.agents.tolist() == [1]


def test_ten_in_a_row_end_the_run():
    with (
        playing(n_agents=2, episode=500, nan_obs=3, nan_ticks=100) as env,
        pytest.raises(UserError, match="10 unusable"),
    ):
        turns(env, 50)
    with playing(n_agents=2, episode=500, nan_obs=3, nan_ticks=9) as env:
        turns(env, 50)


# nothing stays behind


def test_close_leaves_no_process():
    with playing("roller") as env:
        guard = env._connection.player.process.pid
        assert len(group_of(guard)) == 2
    assert group_of(guard) == []
    with pytest.raises(ChildProcessError):
        os.waitpid(guard, os.WNOHANG)  # no zombie either


RUN = f"""
import sys, time
from envs.unity_adapter.env import UnityEnv
env = UnityEnv("player:roller", port={PORT + 5})
env.reset()
print(env._connection.player.process.pid, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_player_ends_with_a_killed_trainer(how):
    with program(RUN + "time.sleep(60)") as trainer:
        guard = int(trainer.stdout.readline())
        assert len(group_of(guard)) == 2
        trainer.send_signal(how)
        assert wait_until_gone(guard)
        trainer.wait(10)


def test_a_player_ends_when_its_guard_is_killed():
    with playing("roller") as env:
        turn = env.reset()
        player, guard = player_pid(env), env._connection.player.process.pid
        os.kill(guard, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while player in group_of(guard) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert player not in group_of(guard)
        assert len(act(env, turn).lost)


def test_a_program_that_forgets_to_close_ends_and_takes_its_player_along():
    before = time.monotonic()
    with program(RUN) as trainer:
        guard = int(trainer.stdout.readline())
        assert trainer.wait(15) == 0
    assert time.monotonic() - before < 15
    assert wait_until_gone(guard)
