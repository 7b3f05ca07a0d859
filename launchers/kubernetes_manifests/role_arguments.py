"""What the container of a role is told: the job's own command line, and where its cell is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from sac.config.overrides import value_text
from sac.errors import UserError

OURS = ("role", "ckpt", "net.directory", "net.bind", "net.keys", "net.number", "net.replay_host", "net.learner_host")
REPLACED = ("net", "net.replay_port", "net.learner_port", "base.name", "base.models")
MODELS, KEYS = "/models", "/keys"  # where the volumes are


def kept(overrides: Sequence[str]) -> list[str]:
    """Overrides that go to the containers as typed. Raises UserError for one that each role has a value of its own."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        if override.key_or_group in OURS:
            raise UserError(
                f"{override.input_line}: leave it out, hydra/launcher=kubernetes gives every role its own "
                f"{override.key_or_group}"
            )
    return [o.input_line for o in parsed if o.key_or_group not in REPLACED]


def role_arguments(
    role: str, typed: Sequence[str], config: DictConfig, hosts: dict[str, str], threads: int
) -> list[str]:
    """Arguments of `python run.py`; `hosts` are the DNS names of replay and learner."""
    net = config.net
    told = {
        "base.name": config.base.name, "base.models": MODELS, "track.wandb_group": config.track.wandb_group,
        "net.replay_host": hosts["replay"], "net.replay_port": net.replay_port,
        "net.learner_host": hosts["learner"], "net.learner_port": net.learner_port, "net.keys": KEYS,
        "base.trust": True,  # the marks of a container end with it, and its volumes are its own
    }  # fmt: skip
    if role != "actor":
        told["net.bind"] = "0.0.0.0"
    if config.base.threads is None:  # all cores of the node else
        told["base.threads"] = threads
    words = [*typed, f"role={role}", "net=static", *(f"{key}={value_text(value)}" for key, value in told.items())]
    return [_literal(word) for word in words] + ["net.number=${host_number:}"] * (role == "actor")


def _literal(word: str) -> str:
    """Kubernetes puts environment variables in for $(NAME)."""
    return re.sub(r"\$(?=[$(])", "$$", word)
