"""Peak memory of a short run: the largest resident memory of the training process, in MB.

    python benchmarks/peak_memory.py [--peer-python PATH] [--vs PATH] [--repeats 3] [--steps 3000]

A run of Pendulum-v1 and one of HalfCheetah-v5: 2x256 networks, batch 256, one update a step, uniform sampling, a memory
of 131,072 rows for all. Ours is `run.py` with evaluation, CSV and TensorBoard on and W&B off; the peers
(stable-baselines3, sbx-rl) neither evaluate nor record. "imports" is a process that imports the libraries and ends: the
least that each of them takes. The peers' Python is `--peer-python`; `before` is another checkout of ours, `--vs`. Each
run is a process of its own, all in turn; medians. Writes peak-memory.csv and peak-memory.md into docs/results.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.paired import BEFORE, Case, add_options, contestants, measured, medians, rounds
from benchmarks.report import RESULTS, show, stamp, versions, write_csv, write_markdown

ROWS = 2**17  # the capacity of the replay
RANDOM_STEPS = 1000
SCENES = {"pendulum": "Pendulum-v1", "half_cheetah": "HalfCheetah-v5"}
IMPORTS = "imports"
LIBRARY = {"ours": "sac.backend", BEFORE: "sac.backend", "sbx": "sbx", "sb3": "stable_baselines3"}  # imported for them
CASES = [Case(who, row, {"scene": row}) for row in (IMPORTS, *SCENES) for who in LIBRARY]


def ours(root: str, scene: str, steps: int) -> float:
    """The peak of a run of run.py in the checkout `root`, in MB, or of the imports alone."""
    with tempfile.TemporaryDirectory() as models:
        words = [
            "base.env_type=GYM", f"base.scene={scene}", f"base.build_path={SCENES.get(scene)}", f"base.models={models}",
            f"base.max_step={steps}", f"replay.random_steps={RANDOM_STEPS}", f"replay.learning_starts={RANDOM_STEPS}",
            f"replay.capacity={ROWS}", "replay.save=false", "sac.use_priority=false", f"eval.per_step={steps}",
            "track.console=false", "seed=0",
        ]  # fmt: skip
        command = ["-c", f"import {LIBRARY['ours']}"] if scene == IMPORTS else ["run.py", *words]
        quiet = os.environ | {"WANDB_MODE": "disabled"}
        subprocess.run([sys.executable, *command], cwd=root, env=quiet, check=True, stdout=subprocess.DEVNULL)
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, KB elsewhere
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit


def peer(who: str, scene: str, steps: int) -> None:
    if who == "sbx":
        from sbx import SAC
    else:
        from stable_baselines3 import SAC
    if scene == IMPORTS:
        return
    model = SAC(
        "MlpPolicy", SCENES[scene], buffer_size=ROWS, batch_size=256, learning_starts=RANDOM_STEPS, seed=0,
        policy_kwargs={"net_arch": [256, 256]},
    )  # fmt: skip
    model.learn(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.set_defaults(repeats=3)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.child:
        job = json.loads(options.child)
        known = {"versions": versions("tensorflow", "jax", "sbx-rl", "torch", "stable-baselines3", "gymnasium")}
        if job["who"] == "ours":
            known["peak MB"] = ours(job["root"], job["scene"], job["steps"])
        else:
            peer(job["who"], job["scene"], job["steps"])
        measured(known)
        return
    here = str(Path(__file__).resolve().parents[1])
    roots = {BEFORE: str(options.vs.resolve())} if options.vs else {}
    cases = [Case(c.who, c.row, {**c.options, "steps": options.steps, "root": roots.get(c.who, here)}) for c in CASES]
    taking_part = contestants(__file__, options)
    if options.vs:  # an old checkout may not have this script
        taking_part[BEFORE] = taking_part[BEFORE]._replace(script=__file__)
    found = rounds(cases, taking_part, options.repeats, options.patience)
    peaks = medians(found, "peak MB")
    rows: list[list] = [["run", "who", "peak MB", "runs"]]
    for case, runs in found.items():
        rows.append(
            [SCENES.get(case.row, case.row), case.who, peaks[case], " ".join(f"{run['peak MB']:.0f}" for run in runs)]
        )
    show(rows)
    write_csv(options.out / "peak-memory.csv", rows)
    known = {k: v for runs in found.values() for k, v in runs[0]["versions"].items()}
    write_markdown(options.out / "peak-memory.md", "Peak memory", [__doc__.split("\n\n", 2)[2], rows, stamp(known)])


if __name__ == "__main__":
    main()
