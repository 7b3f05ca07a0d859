"""Start-up: seconds from the command to the help text, to the composed configuration, and to the first update.

    python benchmarks/startup.py [--repeats 5]

`--help` and `--cfg job` are whole processes. "first update" is `run.py env=gym/pendulum` with the shipped settings,
from its start until the first loss is in metrics.csv: imports, environment, networks, both compilations, 256 steps that
fill the replay, one update. The table has the medians; one run before them warms the disk's cache. The script writes
startup.csv and startup.md into docs/results.
"""

from __future__ import annotations

import argparse
import csv
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import quiet
from benchmarks.report import RESULTS, ROOT, show, stamp, versions, write_csv, write_markdown

START_TIMEOUT_SECONDS = 180.0
POLL_SECONDS = 0.01  # between two looks at metrics.csv
LOAD_SECONDS = 0.5  # over which the load of other processes is measured
TERMINATED_EXIT_CODE = 143  # of a shell after SIGTERM


def to_end(*words: str) -> float:
    """Seconds of a whole process."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "run.py", *words],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=START_TIMEOUT_SECONDS,
    )
    return time.perf_counter() - start


def to_first_update() -> float:
    """Seconds until metrics.csv holds a critic's loss. Raises RuntimeError when the run ends or takes too long."""
    with tempfile.TemporaryDirectory() as models:
        words = ["env=gym/pendulum", f"base.models={models}", "sac.write_summary_per_step=1", "track.console=false"]
        start = time.perf_counter()
        run = subprocess.Popen([sys.executable, "run.py", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            while time.perf_counter() - start < START_TIMEOUT_SECONDS and run.poll() is None:
                if any(has_update(path) for path in Path(models).glob("*/*/metrics.csv")):
                    return time.perf_counter() - start
                time.sleep(POLL_SECONDS)
            raise RuntimeError(f"no update within {START_TIMEOUT_SECONDS:g} s (exit code {run.returncode})")
        finally:
            run.kill()
            run.wait(30)


def has_update(metrics: Path) -> bool:
    with metrics.open(newline="") as file:
        return any(row.get("critic/loss") for row in csv.DictReader(file))


STARTS: dict[str, Callable[[], float]] = {
    "--help": lambda: to_end("--help"),
    "--cfg job": lambda: to_end("env=gym/pendulum", "--cfg", "job"),
    "first update": to_first_update,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for a quiet machine each time")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED_EXIT_CODE))  # also ends the run that is measured
    rows: list[list] = [["what", "seconds", "least", "most", "load before", "runs"]]
    for name, start in STARTS.items():
        start()
        times, loads = [], []
        for _ in range(options.repeats):
            quiet.wait(options.patience)
            others = quiet.Others()
            time.sleep(LOAD_SECONDS)
            loads.append(others.cores())
            times.append(start())
        each = " ".join(f"{t:.2f}" for t in times)
        rows.append([name, median(times), min(times), max(times), median(loads), each])
    show(rows)
    note = f"`load before`: cores that other processes used just before; above {quiet.LIMIT} the times are too long."
    write_csv(options.out / "startup.csv", rows)
    write_markdown(options.out / "startup.md", "Start-up", [
        __doc__.split("\n\n", 2)[2], rows, note, stamp(versions("tensorflow", "keras", "hydra-core", "numpy"))
    ])  # fmt: skip


if __name__ == "__main__":
    main()
