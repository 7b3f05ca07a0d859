"""Entry point: compose the config, check it, call the role that it names."""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

from sac.command_line import check_overrides, explicit_overrides, report_errors


def task(composed: DictConfig) -> float | None:
    """Runs one job; returns the objective (mean of the last evaluation window) for sweeps."""
    from sac.config import validated
    from sac.roles import role
    from sac.run_folder import stored_config

    config = validated(stored_config(composed, explicit_overrides()))
    return role(config.role)(config)


def main() -> None:
    with report_errors():
        check_overrides(sys.argv[1:])
        hydra.main(version_base="1.3", config_path="conf", config_name="config")(task)()


if __name__ == "__main__":
    main()
