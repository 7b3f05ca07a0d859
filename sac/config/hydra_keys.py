"""The keys below `hydra`, which Hydra checks itself: what somebody may have meant by one that it does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sac.config.validation import unknown_key

HYDRAS_WORDS = re.compile(r"Could not override '(hydra\.[^']+)'")


def unknown_hydra_key(message: str, conf: Path) -> str | None:
    """Hydra's message in our words: which choice has this option, or the most similar key; None for other messages.

    `conf` holds the options of launchers and sweepers in `hydra/launcher` and `hydra/sweeper`.
    """
    found = HYDRAS_WORDS.search(message)
    if found is None:
        return None
    name, options = found[1], _options(conf)
    having = [choice for choice, keys in options.items() if name in keys]
    if having:
        return f"{name}: only {', '.join(having)} {'have' if len(having) > 1 else 'has'} this option"
    known = [key for keys in options.values() for key in keys]
    return unknown_key(name, (*known, *_hydras_own()), "conf/hydra/*/*.yaml")


def _options(conf: Path) -> dict[str, list[str]]:
    """Choice of a launcher or a sweeper, such as hydra/launcher=roles -> its keys."""
    return {
        f"hydra/{file.parent.name}={file.stem}": list(_names(f"hydra.{file.parent.name}.", OmegaConf.load(file)))
        for file in sorted((conf / "hydra").glob("*/*.yaml"))
    }


def _hydras_own() -> Iterator[str]:
    from hydra.conf import HydraConf  # imports all of Hydra, which --help does not need

    return _names("hydra.", OmegaConf.structured(HydraConf))


def _names(prefix: str, node: Any) -> Iterator[str]:
    for name in node:
        yield f"{prefix}{name}"
        if OmegaConf.is_missing(node, name) or OmegaConf.is_interpolation(node, name):
            continue
        if isinstance(node[name], DictConfig):
            yield from _names(f"{prefix}{name}.", node[name])
