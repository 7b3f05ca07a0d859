"""Hydra's door to launchers.search. Every Hydra program of the environment imports this file: it stays light."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper


class OptunaSweeper(Sweeper):
    """`sweep=<name>`, or `hydra/sweeper=optuna`; the options stand in conf/hydra/sweeper/optuna.yaml."""

    def __init__(self, **options: Any):
        self._options = options

    def setup(self, *, hydra_context, task_function, config) -> None:
        from launchers.sweep import Sweep

        self._sweep = Sweep(hydra_context, task_function, config, self._options)

    def sweep(self, arguments: list[str]) -> float | None:
        return self._sweep.run(arguments)
