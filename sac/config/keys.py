"""How a key of the configuration is declared: as a dataclass field with the values that it takes.

This module imports neither NumPy nor TensorFlow, because the command line is checked with it before either is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import field
from typing import Any

from omegaconf import MISSING

MAX_FOLDER_NAME_BYTES = 255  # on nearly every file system
TIME_TEXT_LETTERS = 19  # length of the date and time that replace {time}
FIRST_PRINTABLE_CHARACTER, DELETE_CHARACTER = 32, 127  # codes in Unicode
ON_WINDOWS = os.name == "nt"
WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def key(allowed: str = "", check: Callable[[Any], bool] | None = None) -> Any:
    """A field without default; `allowed` says in words which values `check` accepts. None is never checked."""
    return field(default=MISSING, metadata={"allowed": allowed, "check": check})


def at_least(low: float) -> Any:
    return key(f"at least {low}", lambda x: x >= low)


def between(low: float, high: float) -> Any:
    return key(f"between {low} and {high}", lambda x: low <= x <= high)


def positive() -> Any:
    return key("above 0", lambda x: x > 0)


def minus_one_or_positive() -> Any:
    return key("-1 or at least 1", lambda x: x == -1 or x >= 1)


def one_of(*values: str) -> Any:
    return key(" | ".join(values), lambda x: x in values)


def is_folder_name(name: str, windows: bool = ON_WINDOWS) -> bool:
    """Whether a folder may have this name, once a {time} in it is replaced."""
    forbidden = set('/\\<>:"|?*') if windows else set("/\\")
    if not name.strip() or name in (".", "..") or not is_path(name) or set(name.replace("{time}", "")) & forbidden:
        return False
    return not windows or not (name.endswith((".", " ")) or name.partition(".")[0].strip().lower() in WINDOWS_DEVICES)


def is_path(path: str) -> bool:
    """Whether a file system takes this path: no control characters, valid Unicode, no part of it too long."""
    try:
        parts = path.replace("{time}", TIME_TEXT_LETTERS * "t").encode("utf8").replace(b"\\", b"/").split(b"/")
    except UnicodeEncodeError:
        return False
    control = any(ord(c) < FIRST_PRINTABLE_CHARACTER or ord(c) == DELETE_CHARACTER for c in path)
    return max(map(len, parts)) <= MAX_FOLDER_NAME_BYTES and not control


def folder_name() -> Any:
    words = f"a folder name of at most {MAX_FOLDER_NAME_BYTES} bytes, without / \\ and control characters"
    return key(words, is_folder_name)


def folder() -> Any:
    """A path, not empty. The shell does not expand the `~` in key=~/runs, which would become a folder named `~`."""
    words = f"a folder, with names of at most {MAX_FOLDER_NAME_BYTES} bytes; "
    words += "$HOME is expanded by the shell, a leading ~ is not"
    return key(words, lambda x: bool(x.strip()) and is_path(x) and x.partition("/")[0] != "~")
