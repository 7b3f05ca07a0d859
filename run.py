"""Entry point: composes the config, checks it, and calls the role that it names."""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

from sac.config.command_line import begin, explicit_overrides, job_errors, job_number, report_errors
from sac.screen import unbreakable_screen


def task(composed: DictConfig) -> float | None:
    """Runs one job and returns the objective for sweeps: the mean of the last evaluation window."""
    from sac.config.validation import validated
    from sac.roles import run
    from sac.runs.resume import stored_config

    with job_errors():
        return run(validated(stored_config(composed, explicit_overrides(), job_number())))


def main() -> None:
    with unbreakable_screen(), report_errors():
        sys.argv[1:] = begin(sys.argv[1:])
        hydra.main(version_base="1.3", config_path="conf", config_name="config")(task)()


if __name__ == "__main__":
    main()
