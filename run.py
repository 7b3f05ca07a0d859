"""Entry point: compose the config, check it, call the role that it names."""

from __future__ import annotations

import sys

import hydra
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from sac.command_line import check_overrides, explicit_overrides, report_errors
from sac.errors import UserError


def task(composed: DictConfig) -> float | None:
    """Runs one job; returns the objective (mean of the last evaluation window) for sweeps."""
    from sac.config import validated
    from sac.roles import role
    from sac.run_folder import stored_config

    try:
        config = validated(stored_config(composed, explicit_overrides()))
        return role(config.role)(config)
    except UserError as error:  # Hydra shows this kind without a traceback, also in a multirun
        raise CompactHydraException(f"error: {error}") from None


def main() -> None:
    with report_errors():
        check_overrides(sys.argv[1:])
        hydra.main(version_base="1.3", config_path="conf", config_name="config")(task)()


if __name__ == "__main__":
    main()
