"""Commands that a user can type: quoted for Hydra's grammar and for the shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from sac.config.schema import Config

ENVS = Path(__file__).parents[2] / "conf" / "env"
PROGRAM = "SAC_PROGRAM"  # environment variable by which a launcher tells its child processes how the user called it


def run_command(config: Config | DictConfig, *more: str) -> str:
    """The command that names this run, with the overrides `more`, which need no quotes. Only config.base is read.

    The command needs no --config-dir, even if the run began with one: play and resume read the run's own config.
    """
    base, words = config.base, list(more)
    if base.env is not None and is_shipped(base.env):
        words.append(f"env={base.env}")
    if base.env is None or _scene_of(base.env) != base.scene:
        words.append(override("base.scene", base.scene))
    words.append(override("base.name", base.name))
    if base.models != "models":
        words.append(override("base.models", base.models))
    return " ".join([program(), *words])


def same_command(name: str | None = None) -> str:
    """The command that was typed; with `name` as its base.name, where a repetition would choose another one."""
    typed = [word for word in sys.argv[1:] if name is None or not word.lstrip("+").startswith("base.name=")]
    return " ".join([program(), *map(shlex.quote, typed), *([override("base.name", name)] if name else [])])


def place(config: Config) -> list[str]:
    """The overrides net.* by which a role finds the other roles; none on Ray, which passes addresses on itself."""
    if config.net.directory == "ray":
        return []
    usual = yaml.safe_load((ENVS.parent / "net" / "default.yaml").read_text(encoding="utf8"))
    return [override(f"net.{key}", value) for key, value in vars(config.net).items() if value != usual[key]]


def is_shipped(env: str) -> bool:
    """Whether `env=<env>` is a file of conf/env, so that it needs no --config-dir."""
    return (ENVS / f"{env}.yaml").is_file()


def _scene_of(env: str) -> str | None:
    """The base.scene that `env=<env>` sets: in its file, or in the env file that its defaults name."""
    if not is_shipped(env):
        return None
    content = yaml.safe_load((ENVS / f"{env}.yaml").read_text(encoding="utf8"))
    scene = (content.get("base") or {}).get("scene")
    before = [name.removeprefix("/env/") for name in content.get("defaults", ()) if str(name).startswith("/env/")]
    return scene if scene is not None or not before else _scene_of(before[-1])


def program() -> str:
    """The command that starts this program, as the user called it."""
    if PROGRAM in os.environ:
        return os.environ[PROGRAM]
    called = Path(sys.argv[0])
    if called.stem == "sac-run":
        found = shutil.which("sac-run")
        return "sac-run" if found is None or Path(found) == called else shlex.quote(sys.argv[0])
    return f"python {shlex.quote(sys.argv[0])}" if called.name == "run.py" else "python run.py"


def word(path: Path) -> str:
    """A path as an argument on a command line."""
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))  # else it would be read as an option


def override(key: str, value: Any) -> str:
    """`key=value`, quoted for Hydra and for the shell where that is necessary."""
    return shlex.quote(f"{key}={value_text(value)}")


def value_text(value: Any) -> str:
    """A value in Hydra's grammar, which reads it back as an equal value."""
    if isinstance(value, str):
        if re.fullmatch(r"[\w./-]+", value, re.ASCII) and not _is_literal(value):
            return value
        text = value.replace("${", "\\${")  # else it would be an interpolation
        return '"' + re.sub(r'(\\*)("|$)', lambda m: 2 * m[1] + m[2].replace('"', '\\"'), text) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{value_text(k)}: {value_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(value_text, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _is_literal(text: str) -> bool:
    """Whether Hydra reads this text as a number, a truth value or null."""
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false", "null")
    return True
