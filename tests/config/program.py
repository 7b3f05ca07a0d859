"""run.py as a user calls it, in this process, and the config that it would run."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest


@dataclass
class Outcome:
    code: int
    out: str
    err: str
    configs: list  # what the roles were called with


class Program:
    """`program("env=roller", ...)`: the roles are replaced by one that only notes its config."""

    def __init__(self, monkeypatch, capfd):
        self._monkeypatch, self._capfd = monkeypatch, capfd

    def __call__(self, *arguments: str) -> Outcome:
        import run

        configs, code = [], 0
        self._monkeypatch.setattr("sac.roles.run", configs.append)
        self._monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
        self._monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        self._monkeypatch.setenv("SAC_MOMENT", "")
        self._capfd.readouterr()
        try:
            run.main()
        except SystemExit as error:
            code = error.code or 0
        return Outcome(code, *self._capfd.readouterr(), configs)

    def config(self, *arguments: str):
        """The one config that a valid command line runs."""
        outcome = self(*arguments)
        assert outcome.code == 0, outcome.err
        (config,) = outcome.configs
        return config

    def error(self, *arguments: str) -> str:
        """The one line that an invalid command line is answered with."""
        outcome = self(*arguments)
        assert outcome.code == 1 and not outcome.configs and not outcome.out, outcome
        (line,) = outcome.err.splitlines()
        assert line.startswith("error: "), line
        return line.removeprefix("error: ")


@pytest.fixture
def program(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)  # what is written in a folder `models` goes away with it
    return Program(monkeypatch, capfd)
