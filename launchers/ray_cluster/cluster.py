"""The connection to a Ray cluster, or to a Ray of its own on this machine; what nodes get of the environment."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from launchers.jobs.resources import cores
from sac.config.overrides import PROGRAM, program
from sac.errors import UserError
from sac.runs.lock import LOCK_SECONDS

SENT_PREFIXES = ("SAC_", "WANDB_")  # of the environment variables that are sent to the nodes
TOKEN_MODE = "RAY_AUTH_MODE"  # environment variable: whether Ray shows its token
ADDRESS_TIMEOUT_SECONDS = 10
LOST_LOCK_SECONDS = 150  # NFS 4 keeps the locks of a lost machine for 90 s


def check_installed(launcher: str) -> None:
    """Raises UserError where Ray is not installed."""
    if find_spec("ray") is None:
        raise UserError(f"hydra/launcher={launcher} needs Ray: pip install -e '.[ray]'")


@contextmanager
def connected(address: str | None, num_cpus: float) -> Iterator[None]:
    """Connects this process to the cluster at `address`; with None, to a Ray that starts here and ends with the block.

    A Ray of its own has `num_cpus` cores, or those of this machine where these are more. Raises UserError without a
    cluster.
    """
    import ray  # takes a second

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init("local", num_cpus=max(cores(), math.ceil(num_cpus)), include_dashboard=False, **quiet)
        else:
            _check_address(address)
            ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"hydra.launcher.address={address}: {str(error).splitlines()[0]}{_token_hint()}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _token_hint() -> str:
    """What to try where the cluster may demand a token that this process does not show.

    Ray 2.60 leaves a token in the home folder when it starts on one machine (address=null), and clusters that begin
    there later demand it.
    """
    has_token = (Path.home() / ".ray" / "auth_token").exists()
    return "; if the cluster uses a token: export RAY_AUTH_MODE=token" * (has_token and TOKEN_MODE not in os.environ)


def alive_nodes() -> list[dict[str, float]]:
    """The resources of each node that is there, under Ray's names."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def sent_environment(several_machines: bool) -> dict[str, str]:
    """The environment variables that processes on other nodes get: those of this process with SENT_PREFIXES.

    Where there are `several_machines`, processes wait for locks until a network drive gives up those of a lost machine.
    """
    sent = {name: value for name, value in os.environ.items() if name.startswith(SENT_PREFIXES)}
    locks = {LOCK_SECONDS: str(LOST_LOCK_SECONDS)} if several_machines else {}
    return locks | sent | {PROGRAM: program()}


def _check_address(address: str) -> None:
    """Raises OSError when no server answers at host:port; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=ADDRESS_TIMEOUT_SECONDS).close()
