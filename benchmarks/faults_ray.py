"""F18: a Ray worker process killed, and a Ray node removed, below the replay of a cell on three simulated nodes.

    python benchmarks/faults_ray.py

Runs the tests marked `nightly` of tests/launchers/test_ray_roles.py and writes what they measured into
docs/results/faults-ray.md and .csv. "back" is the replay's process, started again; "welcome" is an actor that has found
it at its new address and been let in.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import quiet
from benchmarks.report import RESULTS, ROOT, show, stamp, versions, write_csv, write_markdown
from tests.figures import FIGURES

TESTS = ("tests/launchers/test_ray_roles.py", "-m", "nightly")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for a quiet machine")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    quiet.wait(options.patience)
    others = quiet.Others()
    time.sleep(0.5)
    load = others.cores()
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.jsonl"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *TESTS], cwd=ROOT, env=os.environ | {FIGURES: str(figures)}
        )
        measured = [json.loads(line) for line in figures.read_text().splitlines()] if figures.exists() else []
    if not measured:
        return done.returncode or 1
    rows = [["what", "measured", "at most"]]
    rows += [[m["what"], f"{m['value']:.1f} {m['unit']}", f"{m['limit']:g} {m['unit']}"] for m in measured]
    show(rows)
    write_csv(options.out / "faults-ray.csv", rows)
    note = f"Cores that other processes used just before: {load:.2g}; above {quiet.LIMIT} the times are too long."
    about = f"{__doc__.splitlines()[0]}\n\n{__doc__.split(chr(10) * 2, 2)[2].strip()}"
    parts = [about, rows, note, stamp(versions("ray", "pyzmq"))]
    write_markdown(options.out / "faults-ray.md", "Faults of a cell on Ray", parts)
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
