"""run.py on the scripted environment, which can save its state; as a program, several command lines with `THEN`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "envs")]

MADE = []  # environments, in the order in which they were asked for


def make_env(config, *, n_agents=None, **_):
    """Called like `sac.assemble.make_env`."""
    from scripted import ScriptedEnv

    MADE.append(ScriptedEnv(n_agents or config.base.n_agents, **config.base.env_kwargs))
    return MADE[-1]


def role(config):
    from importlib import import_module

    return getattr(import_module(f"sac.roles.{config.role}"), config.role)(config, make_env)


def main(arguments: list[str]) -> None:
    import run
    import sac.roles

    sac.roles.run = role
    while arguments:
        end = arguments.index("THEN") if "THEN" in arguments else len(arguments)
        sys.argv[1:], arguments = arguments[:end], arguments[end + 1 :]
        run.main()


if __name__ == "__main__":
    main(sys.argv[1:])
