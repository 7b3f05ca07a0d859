"""Checks the code that a run folder contains or names: code that is new on this machine needs the user's consent.

Each piece of code that was used or trusted on this machine has a mark, a small file in the user's state folder. Marks
are never in run folders, so nobody can send a run together with its mark.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sac.errors import UserError
from sac.runs.networks_file import ENVS

log = logging.getLogger(__name__)
STATE = "SAC_STATE"  # environment variable: the user's state folder
OURS = "envs."  # prefix of this project's modules
STAND_IN, OLD_GYM = "player:", "gym:"  # prefixes of base.build_path that name no module


@dataclass(frozen=True)
class Piece:
    """Code that a run contains or names: words for the user, and a text that identifies it."""

    words: str
    identity: str

    @property
    def mark(self) -> Path:
        """The file that marks the code as known. Raises RuntimeError when the user has no home."""
        return _marks() / hashlib.sha256(self.identity.encode("utf8", "surrogateescape")).hexdigest()

    @property
    def known(self) -> bool:
        """Whether the code was used or trusted on this machine before."""
        try:
            return self.mark.is_file()
        except (OSError, RuntimeError):
            return False


def pieces(folder: Path, config: Mapping[str, Any] | None) -> list[Piece]:
    """The code that the run in `folder` would run with this config, without this project's own code.

    Without a config only the networks count.
    """
    base = (config or {}).get("base") or {}
    if not isinstance(base, Mapping):
        return [*_networks(folder / "nn.py", {}), *_interpolations(base)]
    return [*_networks(folder / "nn.py", base), *_environment(base), *_arguments(base), *_interpolations(base)]


def check(found: Sequence[Piece], trusted: bool, run: Path, command: str) -> None:
    """Marks trusted code as known. Raises UserError for other new code, with the command that trusts it."""
    new = [piece for piece in found if not piece.known]
    if new and not trusted:
        raise UserError(
            f"the run {run} brings code that is not known on this machine: {'; '.join(p.words for p in new)}. "
            "It could do whatever you can. If you trust whoever made it, say so (once for this code): "
            f"{command}"
        )
    remember(new)


def remember(found: Sequence[Piece]) -> None:
    """Marks code as known. When the mark cannot be written, a warning is logged."""
    new = [piece for piece in found if not piece.known]
    try:
        for piece in new:
            piece.mark.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            piece.mark.write_text(f"{piece.words}\n", encoding="utf8", errors="replace")
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        log.warning(
            "it could not be noted that this run's code was used here (%s): resume and play will ask for "
            "base.trust=true, unless the environment variable %s names a folder that can be written",
            why,
            STATE,
        )


def _marks() -> Path:
    return _state() / "trusted"


def _state() -> Path:
    """The user's state folder for this program. Raises RuntimeError when the user has no home."""
    if asked := os.environ.get(STATE):
        return Path(asked)
    if sys.platform == "win32":
        root, default = os.environ.get("LOCALAPPDATA"), "AppData/Local"
    elif sys.platform == "darwin":
        root, default = None, "Library/Application Support"
    else:
        root, default = os.environ.get("XDG_STATE_HOME"), ".local/state"
    return (Path(root) if root and Path(root).is_absolute() else Path.home() / default) / "sac-runner"


def _networks(file: Path, base: Mapping[str, Any]) -> Iterator[Piece]:
    """The run's nn.py, identified by its content; without the file, the networks that base.nn names."""
    if file.exists():
        content = file.read_bytes()
        if content not in (shipped.read_bytes() for shipped in ENVS.rglob(file.name)):
            yield Piece(str(file), f"networks {hashlib.sha256(content).hexdigest()}")
        return
    nn, env = str(base.get("nn") or ""), str(base.get("env") or "")
    if (nn and not nn.isidentifier()) or ".." in env or Path(env).is_absolute():
        yield Piece(f"base.nn={nn} of base.env={env}", f"base.nn {nn} {env}")


def _environment(base: Mapping[str, Any]) -> Iterator[Piece]:
    """The modules that an environment's id and arguments name; the program of a Unity player."""
    for text in _texts(base.get("build_path")):
        if base.get("env_type") != "GYM":
            if not text.startswith(STAND_IN):
                yield Piece(f"the program base.build_path={text}", f"program {text}")
        else:
            yield from _module("base.build_path", text)
    for text in _texts(base.get("env_kwargs")):
        yield from _module("base.env_kwargs", text)


def _module(key: str, text: str) -> Iterator[Piece]:
    module = text.removeprefix(OLD_GYM).rpartition(":")[0]
    if module and not module.startswith(OURS):
        yield Piece(f"the module {module}, which {key} names ({text})", f"module {module}")


def _arguments(base: Mapping[str, Any]) -> Iterator[Piece]:
    """Arguments of layers that are mappings, since Keras imports the modules that these name."""
    kwargs = base.get("nn_kwargs")
    for name, values in kwargs.items() if isinstance(kwargs, Mapping) else ():
        for key, value in values.items() if isinstance(values, Mapping) else ():
            if isinstance(value, Mapping):
                yield Piece(f"base.nn_kwargs.{name}.{key}={value}", f"argument {value}")


def _interpolations(base: Any) -> Iterator[Piece]:
    """Interpolations, which could hide code; no config that this program writes contains one."""
    for text in _texts(base):
        if "${" in text:
            yield Piece(f"the interpolation {text} in config.yaml", f"interpolation {text}")


def _texts(value: Any) -> Iterator[str]:
    """All texts in a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)
