"""Keys whose values are text, also where YAML or Hydra read a number or a truth value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sac.config.schema import all_keys, field_of

BUILD_PATH = "base.build_path"  # the id of an environment, or the paths of Unity players by platform
LAUNCHER_KEYS = (  # of launchers and sweepers
    "hydra.sweeper.study_name", "hydra.sweeper.folder", "hydra.sweeper.storage", "hydra.launcher.address",
    "hydra.launcher.image", "hydra.launcher.namespace", "hydra.launcher.secret", "hydra.launcher.env_secret",
    "hydra.launcher.storage_class",
)  # fmt: skip


def is_text(name: str) -> bool:
    """Whether a key takes text, or a list of texts."""
    known = field_of(name)
    of_text = known is not None and str(known.type).removeprefix("list[").startswith("str")
    return of_text or name in LAUNCHER_KEYS or name == BUILD_PATH or name.startswith(f"{BUILD_PATH}.")


def with_texts(config: DictConfig) -> DictConfig:
    """Turns the numbers and truth values of text keys into text, in place, and returns the config."""
    for key in all_keys():
        section, _, leaf = key.rpartition(".")
        holder = OmegaConf.select(config, section) if section else config
        if not is_text(key) or not isinstance(holder, DictConfig) or OmegaConf.is_missing(holder, leaf):
            continue
        if leaf in holder:
            value: Any = holder._get_node(leaf)  # as it stands: an interpolation is left alone
            plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value._value()
            if _texts(plain) != plain:
                holder[leaf] = _texts(plain)
    return config


def _texts(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return ["null" if inner is None else _texts(inner) for inner in value]
    return value
