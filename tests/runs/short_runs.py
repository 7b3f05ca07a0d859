"""Real runs of run.py in this process: tiny networks, few steps, no XLA."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TINY = (
    "base.models=m", "base.name=a", "seed=1", "replay.batch_size=8", "replay.capacity=1000", "replay.random_steps=0",
    "base.nn_kwargs={ModelPolicy: {hidden: [8]}, ModelQ: {hidden: [8]}}", "sac.jit=false", "eval.episodes=1",
    "eval.per_step=-1", "track.tensorboard=false", "sac.ensemble_q_num=1", "sac.ensemble_q_sample=1",
)  # fmt: skip
PENDULUM = ("env=gym/pendulum", *TINY)


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """What the user is told; no traceback."""
        assert self.code == 1 and "Traceback" not in self.err, self
        return self.err[self.err.index("error: ") + 7 :]


class Runner:
    """`go("env=...", ...)` in a folder of its own; runs lie in m/<scene>/<name>."""

    def __init__(self, monkeypatch, capfd, folder: Path):
        self.folder, self._monkeypatch, self._capfd = folder, monkeypatch, capfd
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        monkeypatch.setenv("SAC_MOMENT", "")

    def __call__(self, *arguments: str) -> Outcome:
        import run

        self._monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
        self._capfd.readouterr()
        code = 0
        try:
            run.main()
        except SystemExit as error:
            code = error.code or 0
        return Outcome(code, *self._capfd.readouterr())

    def ok(self, *arguments: str) -> Outcome:
        outcome = self(*arguments)
        assert outcome.code == 0, outcome.err
        return outcome

    def run(self, name: str = "pendulum/a") -> RunFiles:
        return RunFiles(self.folder / "m" / name)


@dataclass
class RunFiles:
    path: Path

    @property
    def result(self) -> dict:
        return json.loads((self.path / "result.json").read_text())

    @property
    def checkpoints(self) -> list[Path]:
        return sorted((self.path / "checkpoints").glob("step_*"))

    @property
    def steps(self) -> list[int]:
        return [int(path.name.partition(".")[0].removeprefix("step_")) for path in self.checkpoints]

    def arrays(self, which: int = -1) -> dict[str, np.ndarray]:
        """Every saved array of a checkpoint, by part/name."""
        found = {}
        for file in self.checkpoints[which].glob("*.npz"):
            with np.load(file) as arrays:
                found |= {f"{file.stem}/{name}": arrays[name] for name in arrays.files}
        return found

    def scalars(self, which: int = -1) -> dict:
        return json.loads((self.checkpoints[which] / "scalars.json").read_text())

    @property
    def log(self) -> str:
        return (self.path / "log.log").read_text()

    @property
    def rows(self) -> list[dict[str, str]]:
        with (self.path / "metrics.csv").open() as file:
            return list(csv.DictReader(file))
