"""The whole loop: HalfCheetah-v5, one environment, one update for each step; against SB3 and SBX.

    python benchmarks/loop.py [--peer-python PATH] [--vs PATH] [--repeats 5] [--steps 3000]
    python benchmarks/loop.py --phases --samplers uniform

Wall time and CPU-ms of `--steps` steps, and the wall time scaled to 10,000 steps. Before them come 1,500 steps to warm
up, of which 1,000 are random; all is compiled then. K = 1: an update after each step; K = 16: sixteen after every
sixteenth (peers: train_freq and gradient_steps 16).
Everything of a run is inside: acting, environment, replay, updates, statistics; no evaluation and
no checkpoint. Ours is `run.py` itself, with CSV and TensorBoard on; 2x256 networks, batch 256, as everywhere. The peers
sample uniformly, so the like of theirs is our uniform sampler; "prioritized" is what we ship.

Each measurement is a process of its own, all in turn; medians. Needs `mujoco<4` here and in the peers' environment
(stable-baselines3, sbx-rl, imageio), whose Python is `--peer-python`; `before` is another checkout of ours, `--vs`.
Writes loop.csv and loop.md into docs/results. CPU-ms are those of all threads, for one step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.paired import BEFORE, NOTE, Case, add_options, contestants, measured, rounds, table
from benchmarks.quiet import Others
from benchmarks.report import RESULTS, show, stamp, versions, write_csv, write_markdown

ENV, RANDOM, WARM = "HalfCheetah-v5", 1000, 1500
CASES = [
    Case(who, f"{sampler}{', ' if sampler else ''}K = {k}", {"k": k, "sampler": sampler, "against": f"{k}"})
    for k in (1, 16)
    for who, sampler in (
        ("ours", "uniform"), (BEFORE, "uniform"), ("sbx", ""), ("sb3", ""),
        ("ours", "prioritized"), (BEFORE, "prioritized"),
    )
]  # fmt: skip


class Stopwatch:
    """Measures from step WARM to step WARM + n; as a sink of our tracker it hears of every step."""

    def __init__(self, n: int):
        self.n, self.start, self.found = n, None, {}
        self.phases: dict[str, float] = {}  # wall seconds of each phase of our loop, after the warm-up
        self._phases_from = self._phases_to = 0

    def progress(self, step: int, updates: int = 0) -> None:
        if self.start is None and step >= WARM:
            self.start = step, time.perf_counter(), time.process_time(), Others()
        elif self.start and not self.found and step >= WARM + self.n:
            first, wall, cpu, others = self.start
            wall, cpu, n = time.perf_counter() - wall, time.process_time() - cpu, step - first
            self.found = {
                "steps/s": n / wall, "s per 10,000": wall / n * 1e4, "CPU-ms": cpu / n * 1e3, "others": others.cores()
            }  # fmt: skip

    def scalars(self, values, step) -> None:
        """Sums the seconds that our loop reports for each phase of it."""
        seconds = {name.removeprefix("seconds/"): x for name, x in values.items() if name.startswith("seconds/")}
        if not seconds:
            return
        if step > WARM and self._phases_from:
            self._phases_to = step
            for name, value in seconds.items():
                self.phases[name] = self.phases.get(name, 0.0) + value
        elif step > WARM:
            self._phases_from = step

    def ms_a_step(self) -> dict[str, float]:
        """Wall milliseconds of each phase, for one step."""
        steps = max(1, self._phases_to - self._phases_from)
        return {f"ms of {name}": 1e3 * value / steps for name, value in self.phases.items()}

    def close(self, exit_code, reason, result) -> None: ...


def ours(k: int, sampler: str, watch: Stopwatch) -> None:
    """A run of run.py whose tracker has one sink more."""
    import run
    from sac import assemble
    from sac.track.tracker import Tracker

    make = assemble.make_tracker
    assemble.make_tracker = lambda *a, **kw: Tracker([*make(*a, **kw).sinks, watch])
    with tempfile.TemporaryDirectory() as models:
        sys.argv = [
            "run.py", "base.env_type=GYM", "base.scene=half_cheetah", f"base.build_path={ENV}", f"base.models={models}",
            f"base.max_step={WARM + watch.n}", f"replay.random_steps={RANDOM}", f"replay.learning_starts={RANDOM}",
            "replay.save=false", f"sac.use_priority={'true' if sampler == 'prioritized' else 'false'}",
            f"sac.updates_per_call={k}", "eval.per_step=-1", "track.console=false", "seed=0",
        ]  # fmt: skip
        run.main()


def peer(who: str, k: int, watch: Stopwatch) -> None:
    if who == "sbx":
        from sbx import SAC
    else:
        from stable_baselines3 import SAC
    from stable_baselines3.common.callbacks import BaseCallback

    class Listen(BaseCallback):
        def _on_step(self) -> bool:
            watch.progress(self.num_timesteps)
            return not watch.found

    model = SAC(
        "MlpPolicy", ENV, buffer_size=2**19, batch_size=256, learning_starts=RANDOM, train_freq=k, gradient_steps=k,
        policy_kwargs={"net_arch": [256, 256]}, seed=0,
    )  # fmt: skip
    model.learn(WARM + watch.n + k, callback=Listen())


def write_phases(found: Mapping[Case, Sequence[Mapping]], out: Path) -> None:
    """Writes loop-phases.csv and loop-phases.md: the wall time of each phase of our loop, medians over the rounds."""
    names = sorted({name for runs in found.values() for run in runs for name in run if name.startswith("ms of ")})
    rows: list[list] = [["loop", "ms a step", *names, "ms of the rest", "others", "rounds"]]
    for case, runs in found.items():
        whole = statistics.median(1e3 / run["steps/s"] for run in runs)
        phases = [statistics.median(run[name] for run in runs) for name in names]
        others = statistics.median(run["others"] for run in runs)
        rows.append([case.row, whole, *phases, whole - sum(phases), others, len(runs)])
    show(rows)
    write_csv(out / "loop-phases.csv", rows)
    known = {k: v for runs in found.values() for k, v in runs[0]["versions"].items()}
    write_markdown(out / "loop-phases.md", "Where the time of the loop goes", [
        "Wall milliseconds of each phase of our loop for one step of HalfCheetah-v5, by `python benchmarks/loop.py "
        "--phases`: `act` chooses the action, `env` steps the environment, `sample` draws batches and gives priorities "
        "back, `update` is the compiled call with what goes in and out; the rest is the rollout's bookkeeping, the "
        "replay's insert and records.",
        rows, stamp(known),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--samplers", nargs="*", default=["uniform", "prioritized"], help="of ours")
    parser.add_argument("--phases", action="store_true", help="only show where our time goes, into loop-phases.md")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.child:
        job = SimpleNamespace(**json.loads(options.child))
        watch = Stopwatch(job.steps)
        if job.who == "ours":
            ours(job.k, job.sampler, watch)
        else:
            peer(job.who, job.k, watch)
        known = versions("tensorflow", "jax", "sbx-rl", "torch", "stable-baselines3", "gymnasium", "mujoco", "numpy")
        measured(watch.found | watch.ms_a_step() | {"versions": known})
        return
    cases = [
        Case(c.who, c.row, {**c.options, "steps": options.steps})
        for c in CASES
        if c.options["sampler"] in ("", *options.samplers) and (c.who == "ours" or not options.phases)
    ]
    found = rounds(cases, contestants(__file__, options), options.repeats, options.patience)
    if options.phases:
        write_phases(found, options.out)
        return
    rows = table(found, "steps/s", "CPU-ms", "s per 10,000", "peak MB")
    show(rows)
    write_csv(options.out / "loop.csv", rows)
    known = {k: v for runs in found.values() for k, v in runs[0]["versions"].items()}
    measured_over = f"Measured over {options.steps:,} steps."
    write_markdown(options.out / "loop.md", "Whole loop", [
        __doc__.split("\n\n", 2)[2], measured_over, rows, NOTE, stamp(known)
    ])  # fmt: skip


if __name__ == "__main__":
    main()
