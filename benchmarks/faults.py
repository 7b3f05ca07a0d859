"""What trouble costs a cell: runs the fault tests and writes the figures that they print.

    python benchmarks/faults.py [--repeats 3] [--nightly] [--with a.jsonl b.jsonl]

Writes faults.csv and faults.md into docs/results. `--nightly` adds the long ones (tests marked so); `--with` adds what
such tests have left in files named by SAC_FIGURES at other times.
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

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.report import RESULTS, ROOT, show, stamp, versions, write_csv, write_markdown
from tests.figures import FIGURES

TESTS = (
    "tests/faults/test_cell_faults.py", "tests/faults/test_evolver_faults.py",
    "tests/faults/test_actors_come_and_go.py", "tests/wire",
)  # fmt: skip
NIGHTLY = ("tests/faults/test_long_faults.py", "tests/launchers/test_ray_roles.py")


def run(words: list[str], figures: Path) -> int:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", *words], cwd=ROOT, env=os.environ | {FIGURES: str(figures)}
    ).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1, help="of all but the long ones")
    parser.add_argument("--nightly", action="store_true")
    parser.add_argument("--with", dest="more", type=Path, nargs="*", default=[], help="figures of other runs of tests")
    options = parser.parse_args()
    notes = []
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.jsonl"
        for more in options.more:
            lines = more.read_text().splitlines(keepends=True)
            with figures.open("a") as file:
                file.writelines(lines)
            before = ", ".join(sorted({json.loads(line)["fault"] for line in lines}))
            day = time.strftime("%Y-%m-%d", time.localtime(more.stat().st_mtime))
            notes.append(f"{before}: of another run of these tests, on {day}, perhaps of another commit.")
        code = 0
        for _ in range(options.repeats):
            code = run([test for test in TESTS if (ROOT / test).exists()], figures) or code
        if options.nightly:
            nightly = [test for test in NIGHTLY if (ROOT / test).exists()]
            code = run(["-m", "nightly or not learning", *nightly], figures) or code
        rows = [json.loads(line) for line in figures.read_text().splitlines()] if figures.exists() else []
    names = dict.fromkeys((row["fault"], row["what"], row["unit"], row["limit"]) for row in rows)
    table = [["fault", "what", "times", "median", "worst", "at most", "unit"]]
    for fault, what, unit, limit in sorted(names, key=lambda n: int(n[0].strip("F*"))):
        values = [row["value"] for row in rows if (row["fault"], row["what"]) == (fault, what)]
        table.append([fault, what, len(values), float(np.median(values)), max(values), limit, unit])
    show(table)
    write_csv(RESULTS / "faults.csv", table)
    write_markdown(RESULTS / "faults.md", "Faults", [
        "A cell of a replay, a learner and two actors (Pendulum, tiny networks), to which something happens; figures "
        "of the fault tests. `at most` is what the tests demand on any machine, loaded ones included. F1 an actor is "
        "killed, F2 the replay, F3 the learner, F4 the evolver of a population of two, "
        "F5 the launcher dies; F6 SIGTERM and SIGINT; F7 the replay stands still; F8 a "
        "line is cut between two network namespaces; F9 a flood of malformed messages; F15 actors come and go; F16 an "
        "exception in the learner; F17 random kills for a long time; F18 Ray loses a process, a node."
        " F10 (other shapes or config), F11 (full disk), F12 (damaged files), F13 (NaN) and F14 (environment fails) are"
        " tests without a figure.",
        table, *notes, stamp(versions("tensorflow", "pyzmq")),
    ])  # fmt: skip
    raise SystemExit(code)


if __name__ == "__main__":
    main()
