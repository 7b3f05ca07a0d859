"""Real players for the tests of the Unity adapter, always closed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from envs.unity_adapter.env import UnityEnv
from sac.types import Action, Turn

ROOT = Path(__file__).parents[2]
PORT = 20000 + os.getpid() % 1000 * 10  # away from a training on the same machine


@contextlib.contextmanager
def playing(
    player: str = "zoo",
    n_agents: int = 2,
    seed: int = 0,
    timeout: float = 30.0,
    no_graphics: bool = True,
    **parameters,
) -> Iterator:
    """A UnityEnv on a stand-in player; the other keywords are environment parameters."""
    env = UnityEnv(
        f"player:{player}",
        port=PORT,
        n_agents=n_agents,
        seed=seed,
        no_graphics=no_graphics,
        timeout=timeout,
        reset_parameters=parameters,
    )
    try:
        yield env
    finally:
        env.close()


def act(env: UnityEnv, turn: Turn, value: float = 0.0) -> Turn:
    """The same action for everybody who asks."""
    k = len(turn.agents)
    continuous = np.full((k, env.spec.continuous), value, np.float32)
    return env.step(Action(continuous, np.zeros((k, len(env.spec.branches)), np.int32)))


def turns(env: UnityEnv, count: int) -> list[Turn]:
    """A reset and `count` steps of idle agents."""
    played = [env.reset()]
    for _ in range(count):
        played.append(act(env, played[-1]))
    return played


def group_of(leader: int) -> list[int]:
    """Ids of the living processes of a group (zombies do not count)."""
    lines = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in lines.splitlines()]
    return [int(pid) for pid, group, state in rows if int(group) == leader and not state.startswith("Z")]


def player_pid(env: UnityEnv) -> int:
    """The player itself: the group's member that is not its guard."""
    guard = env._connection.player.process.pid
    (pid,) = [pid for pid in group_of(guard) if pid != guard]
    return pid


def wait_until_gone(leader: int, seconds: float = 8.0) -> bool:
    deadline = time.monotonic() + seconds
    while group_of(leader):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def program(code: str) -> subprocess.Popen:
    """A Python program of its own, in the project's folder."""
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
