"""Reads the config.yaml of a run, which a power cut or a text editor may have damaged."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sac.config.schema import all_keys
from sac.config.validation import unknown_key
from sac.errors import UserError

FREE_FORM = ("reset", "random_params")  # sections whose names are the user's own
SECTIONS = ("base", "replay", "sac", "eval", "track")  # every stored config has them; half a file lacks some


class Unreadable(UserError):  # noqa: N818 - a state of the file
    """A stored config is damaged, as by a power cut, and no copy of it exists."""


def is_damaged(file: Path) -> bool:
    """Whether a text file is missing, is empty, or holds zeros, as a power cut leaves it."""
    data = file.read_bytes() if file.exists() else b""
    return not data.strip() or b"\0" in data


def read_config_file(path: Path) -> DictConfig:
    """The config in `path`. Raises Unreadable for a damaged file, and UserError for a key of another version."""
    if is_damaged(path):
        raise Unreadable(f"{path} is empty or damaged")
    try:
        stored = OmegaConf.load(path)
    except Exception as error:  # yaml's errors have no common base with OmegaConf's
        raise Unreadable(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(stored, DictConfig):
        raise Unreadable(f"{path} is damaged: it holds no keys")
    known = set(all_keys())
    for key in _keys(stored):
        if key not in known:
            raise UserError(
                f"{path}: {unknown_key(key)} (or was this run made by a newer version of this program? Then use "
                "that one; nothing was changed)"
            )
    for section in SECTIONS:
        if not isinstance(stored.get(section), DictConfig):
            raise Unreadable(f"{path} is damaged: it holds no section {section}")
    return stored


def _keys(stored: DictConfig) -> list[str]:
    """The sections of a config, and the keys in them where the program defines these."""
    keys: list[str] = []
    for section, value in stored.items():
        inside = value if isinstance(value, DictConfig) and section not in FREE_FORM else ()
        keys += [str(section), *(f"{section!s}.{key!s}" for key in inside)]
    return keys
