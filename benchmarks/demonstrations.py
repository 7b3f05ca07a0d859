"""Steps to RollerBall's goal with and without demonstrations, over several seeds.

    python benchmarks/demonstrations.py [--seeds 1 2 3] [--episodes 200] [--models models/demonstrations]

An expert, trained from another seed, plays `--episodes` episodes into a .demo file (`role=play record=demo`). Each run
then learns with these rows, or without them, until 95 of 100 evaluation episodes reach the target; evaluations come
every 1,000 steps. A run is one process with one thread; a finished one is not repeated and an interrupted one goes on.
Writes demonstrations.csv and demonstrations.md into docs/results. `x none` is the median of the steps divided by that
of the runs without demonstrations; the expert's own steps are not counted.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.learning import Run, collect, run_folder, train
from benchmarks.report import RESULTS, ROOT, Row, show, stamp, versions, write_csv, write_markdown

ENV, EXPERT_SEED, GOAL = "roller", 101, 0.95
EVERY = ("eval.per_step=1000", "base.max_step=60000")
KEEP = ("replay.load=demo:{file}", "replay.keep_loaded=0.25")
VARIANTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "in the memory": ("replay.load=demo:{file}",),
    "kept in every batch": KEEP,
    "kept, and cloned": (*KEEP, "sac.behavioral_cloning=1", "sac.behavioral_cloning_updates=2000"),
}
HEADER = ("demonstrations", "steps to the goal", "median", "x none", "final return", "seeds", "minutes", "commit")


def recorded(models: Path, episodes: int, minutes: float) -> tuple[Path, str]:
    """The .demo file of the expert's episodes, and what the expert printed about them."""
    here = models / "expert"
    here.mkdir(parents=True, exist_ok=True)
    train(ENV, EXPERT_SEED, here, minutes, [])
    expert = run_folder(here, ENV, EXPERT_SEED)
    assert expert is not None, "the expert has made no run"
    file, told = expert / "demonstrations" / "played-1.demo", expert / "demonstrations" / "played.txt"
    if not file.exists():
        words = ["role=play", f"env={ENV}", f"base.models={here}", f"base.name={expert.name}", "record=demo"]
        words += [f"eval.episodes={episodes}", "base.threads=1"]
        done = subprocess.run(
            [sys.executable, "run.py", *words], cwd=ROOT, capture_output=True, text=True, timeout=60 * minutes
        )
        done.check_returncode()
        told.write_text(next(line for line in done.stdout.splitlines() if line.startswith("mean return")))
    return file, told.read_text()


def row(name: str, runs: list[Run], without: float) -> Row:
    """What the runs of one variant came to."""
    steps = [run.reached(GOAL) for run in runs]
    median = float(np.median([np.inf if step is None else step for step in steps]))
    return (
        name, " ".join(f"{step:,}" if step else "-" for step in steps), median, median / without,
        float(np.mean([run.at(None)[1] for run in runs])), " ".join(str(run.seed) for run in runs),
        float(np.mean([run.minutes for run in runs])), " ".join(sorted({run.commit for run in runs})),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--episodes", type=int, default=200, help="that the expert plays")
    parser.add_argument("--minutes", type=float, default=30.0, help="time limit of one run")
    parser.add_argument("--models", type=Path, default=ROOT / "models" / "demonstrations")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    models = options.models.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # `train` then asks its run to save and stop
    file, expert = recorded(models, options.episodes, options.minutes)
    found: dict[str, list[Run]] = {}
    for name, words in VARIANTS.items():
        here = models / "".join(c if c.isalnum() else "_" for c in name)
        here.mkdir(parents=True, exist_ok=True)
        for seed in options.seeds:
            train(ENV, seed, here, options.minutes, [*EVERY, *(word.format(file=file) for word in words)])
        found[name] = collect(here, [ENV], options.seeds)[ENV]
    without = row("none", found["none"], 1.0)[2]
    rows = [HEADER, *(row(name, runs, without) for name, runs in found.items())]
    show(rows)
    write_csv(options.out / "demonstrations.csv", rows)
    settings = [
        f"* {name}: `{' '.join((f'env={ENV}', *EVERY, *words)).format(file='<file>')}`"
        for name, words in VARIANTS.items()
    ]
    write_markdown(options.out / "demonstrations.md", "Demonstrations", [
        __doc__.split("\n\n", 2)[2], f"The expert: {expert}.", rows, "The runs:\n\n" + "\n".join(settings),
        stamp(versions("tensorflow", "keras", "numpy")),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
