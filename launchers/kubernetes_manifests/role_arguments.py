"""The command line of a role's container: the job's own overrides, and the addresses of its cell."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from sac.config.overrides import value_text
from sac.errors import UserError

SET_BY_LAUNCHER = (
    "role",
    "ckpt",
    "net.directory",
    "net.bind",
    "net.keys",
    "net.number",
    "net.replay_host",
    "net.learner_host",
)
REPLACED = ("net", "net.replay_port", "net.learner_port", "base.name", "base.models")
MODELS, KEYS = "/models", "/keys"  # folders at which the volumes are mounted


def kept(overrides: Sequence[str]) -> list[str]:
    """The overrides that the containers get as they were typed.

    Raises UserError for the override of a key that has a value of its own in each role.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        if override.key_or_group in SET_BY_LAUNCHER:
            raise UserError(
                f"{override.input_line}: leave it out, hydra/launcher=kubernetes gives every role its own "
                f"{override.key_or_group}"
            )
    return [str(o.input_line) for o in parsed if o.key_or_group not in REPLACED]


def role_arguments(
    role: str, typed: Sequence[str], config: DictConfig, hosts: dict[str, str], threads: int
) -> list[str]:
    """Arguments of `python run.py`; `hosts` are the DNS names of replay and learner."""
    net = config.net
    own = {
        "base.name": config.base.name, "base.models": MODELS, "track.wandb_group": config.track.wandb_group,
        "net.replay_host": hosts["replay"], "net.replay_port": net.replay_port,
        "net.learner_host": hosts["learner"], "net.learner_port": net.learner_port, "net.keys": KEYS,
        "base.trust": True,  # a container cannot keep marks of trusted code, and only the cell writes to its volumes
    }  # fmt: skip
    if role != "actor":
        own["net.bind"] = "0.0.0.0"
    if config.base.threads is None:  # else TensorFlow would use all cores of the node
        own["base.threads"] = threads
    words = [*typed, f"role={role}", "net=static", *(f"{key}={value_text(value)}" for key, value in own.items())]
    return [_literal(word) for word in words] + ["net.number=${host_number:}"] * (role == "actor")


def _literal(word: str) -> str:
    """Escapes $(NAME), in whose place Kubernetes would put an environment variable."""
    return re.sub(r"\$(?=[$(])", "$$", word)
