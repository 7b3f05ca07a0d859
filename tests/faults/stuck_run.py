"""A run with a Unity player and worker processes whose 5th step never ends: `python stuck_run.py env=...`."""

from __future__ import annotations

import multiprocessing
import sys
import time
from pathlib import Path

import faulty_envs

from envs.gymnasium_adapter.build import build_gym_env
from envs.unity_adapter.env import UnityEnv


def block(_) -> None:
    Path("stuck").touch()
    time.sleep(300)


def main() -> None:
    import run
    import sac.roles
    from sac.roles.train import train

    keep = [build_gym_env("CartPole-v1", 2, "async"), UnityEnv("player:roller", port=21700, n_agents=2)]
    keep[0].reset(0)
    hangs = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(300,), daemon=True)
    hangs.start()  # a worker that does not notice that its parent is gone
    sac.roles.run = lambda config: train(config, faulty_envs.factory({5: block}))
    run.main()


if __name__ == "__main__":
    sys.argv[0] = "run.py"
    main()
