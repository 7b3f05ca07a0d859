"""What the config says of a cell: how its roles find one another, and what they must agree on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sac import assemble
from sac.config.overrides import program
from sac.config.schema import Config
from sac.errors import UserError
from sac.replay import RateLimiter, UnlimitedRate
from sac.runs.folder import RunFolder
from sac.types import Spec
from sac.wire.codec import Codec
from sac.wire.discovery import Directory, Fixed, Records
from sac.wire.handshake import Description, described_spec
from sac.wire.keys import Keys
from sac.wire.messages import replay_codec

KEYS_OF_ONE_ROLE = {  # by section; roles may differ in these
    "sac": {"seed", "write_summary_per_step", "save_model_per_step", "save_model_per_minute", "sample_in_play", "jit"},
    "replay": {"save", "load"},
}
UNLIMITED_BACKLOG_STEPS = 1 << 40  # more than any run has
SHARED_KEYS_OF_BASE = ("env_type", "scene", "nn", "nn_kwargs", "extra_obs", "scale_by", "update_policy_mode")


def cell_folder(config: Config) -> RunFolder:
    """The run's folder. Raises UserError for a name with a time in it, which would be another one in each role."""
    if "{time}" in config.base.name:
        raise UserError(
            f"role={config.role} alone needs the name of its run: base.name=..., the same for all its roles "
            f"(a whole cell: {program()} -m env=... hydra/launcher=roles)"
        )
    return RunFolder.of(config)


def make_directory(config: Config, folder: RunFolder) -> Directory:
    """Where the roles find one another. Raises UserError for net.directory=ray without a launcher."""
    net = config.net
    if net.directory == "ray" and net.records is None:
        raise UserError(
            "net.directory=ray is told to each process of a cell by its Ray actor: "
            f"{program()} -m env=... hydra/launcher=ray_roles"
        )
    if net.directory == "static":
        hosts = {"replay": (net.replay_host, net.replay_port), "learner": (net.learner_host, net.learner_port)}
        return Fixed(hosts | {"evolver": (net.evolver_host, net.evolver_port)})
    records = folder.path / "net" if net.records is None else Path(net.records)
    return _records(config, records)


def _records(config: Config, folder: Path) -> Records:
    """Records in `folder`. A record names one address, so 0.0.0.0 (all interfaces) is recorded as 127.0.0.1."""
    return Records(folder, "127.0.0.1" if config.net.bind == "0.0.0.0" else config.net.bind)


def evolver_directory(config: Config, folder: RunFolder) -> Directory:
    """Where the evolver is found; `folder` is the run of the role that asks, or of the evolver itself."""
    if config.net.evolver_records is None:
        return make_directory(config, folder)
    return _records(config, Path(config.net.evolver_records))


def make_keys(config: Config) -> Keys | None:
    """The cell's keys, or None. Raises UserError for keys that other users can read."""
    if config.net.keys is None:
        return None
    keys = Keys(Path(config.net.keys))
    keys.check_private()
    return keys


def shared_config(config: Config) -> dict[str, Any]:
    """The config's values on which all roles must agree, by key; as JSON would return them."""
    sections = asdict(config)
    shared = {
        f"{section}.{name}": value
        for section, own in KEYS_OF_ONE_ROLE.items()
        for name, value in sections[section].items()
        if name not in own
    }
    shared |= {f"base.{name}": sections["base"][name] for name in SHARED_KEYS_OF_BASE}
    as_json: dict[str, Any] = json.loads(json.dumps(shared))
    return as_json


def describe(config: Config, spec: Spec, **told: Any) -> Description:
    """The description that a role sends: config and Spec, which must agree, and what else it tells."""
    return Description(shared_config(config) | described_spec(spec), told)


def make_cell_limiter(config: Config, n_agents: int) -> RateLimiter:
    """The rate limiter of a cell; only `replay.limiter=bucket` drops the credit of more than `replay.max_lead` steps.

    By default a step of all `n_agents` of an environment earns one update, as in a single process.
    """
    r, s = config.replay, config.sac
    per_step = 1 / n_agents if s.updates_per_step is None else s.updates_per_step
    starts = r.batch_size if r.learning_starts is None else r.learning_starts
    backlog = r.max_lead if r.limiter == "bucket" else UNLIMITED_BACKLOG_STEPS
    return (UnlimitedRate if r.limiter == "free" else RateLimiter)(per_step, starts, s.updates_per_call, backlog)


def codec_of_replay(config: Config, spec: Spec, state_size: int) -> Codec:
    """The codec of the messages to and from the replay."""
    return replay_codec(spec, state_size, *assemble.window(config), assemble.normalized_sensors(config, spec))
