"""Start-up: seconds from the command to the help text, to the composed configuration, and to the first update.

    python benchmarks/startup.py [--vs PATH] [--repeats 5]

`import hydra` is the least that any of them takes. `--help` and `--cfg job` are whole processes. "first update" is
`run.py env=gym/pendulum` with the shipped settings, from its start until the first loss is in metrics.csv: imports,
environment, networks, compilation, 256 steps that fill the replay, one update. The table has the medians, taken in
turn; one run before them warms the disk's cache and that of compiled functions (base.compile_cache). "no cache" is
without the latter. `before` is another checkout of ours, `--vs`, which may have no such cache. The script writes
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
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import quiet
from benchmarks.report import RESULTS, ROOT, show, stamp, versions, write_csv, write_markdown

START_TIMEOUT_SECONDS = 180.0
POLL_SECONDS = 0.01  # between two looks at metrics.csv
LOAD_SECONDS = 0.5  # over which the load of other processes is measured
TERMINATED_EXIT_CODE = 143  # of a shell after SIGTERM


class Checkout(NamedTuple):
    """A working copy of the project and the Python that runs it."""

    who: str
    python: str
    root: Path


def to_end(checkout: Checkout, *words: str) -> float:
    """Seconds of a whole process of Python."""
    start = time.perf_counter()
    subprocess.run(
        [checkout.python, *words],
        cwd=checkout.root,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=START_TIMEOUT_SECONDS,
    )
    return time.perf_counter() - start


def to_first_update(checkout: Checkout, *more: str) -> float:
    """Seconds until metrics.csv holds a critic's loss. Raises RuntimeError when the run ends or takes too long."""
    with tempfile.TemporaryDirectory() as models:
        words = ["env=gym/pendulum", f"base.models={models}", "sac.write_summary_per_step=1", "track.console=false"]
        start = time.perf_counter()
        run = subprocess.Popen([checkout.python, "run.py", *words, *more], cwd=checkout.root, stdout=subprocess.DEVNULL)
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


STARTS: dict[str, Callable[[Checkout], float]] = {
    "import hydra": lambda checkout: to_end(checkout, "-c", "import hydra"),
    "--help": lambda checkout: to_end(checkout, "run.py", "--help"),
    "--cfg job": lambda checkout: to_end(checkout, "run.py", "env=gym/pendulum", "--cfg", "job"),
    "first update": to_first_update,
    "first update, no cache": lambda checkout: to_first_update(checkout, "base.compile_cache=null"),
}
OF_OURS_ONLY = ("import hydra", "first update, no cache")


def times_in_turn(
    start: Callable[[Checkout], float], checkouts: Sequence[Checkout], options: argparse.Namespace
) -> dict[Checkout, tuple[list[float], list[float]]]:
    """Seconds of each start, and the cores that others used just before it."""
    found: dict[Checkout, tuple[list[float], list[float]]] = {checkout: ([], []) for checkout in checkouts}
    for checkout in checkouts:
        start(checkout)
    for _ in range(options.repeats):
        for checkout, (times, loads) in found.items():
            quiet.wait(options.patience)
            others = quiet.Others()
            time.sleep(LOAD_SECONDS)
            loads.append(others.cores())
            times.append(start(checkout))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for a quiet machine each time")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--vs", type=Path, metavar="PATH", help="another checkout of ours to compare with, as `before`")
    parser.add_argument("--vs-python", default=sys.executable, help="the Python for it (default: this one)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED_EXIT_CODE))  # also ends the run that is measured
    checkouts = [Checkout("ours", sys.executable, ROOT)]
    if options.vs:
        checkouts.append(Checkout("before", options.vs_python, options.vs.resolve()))
    rows: list[list] = [["what", "who", "seconds", "least", "most", "load before", "runs", "of `before`"]]
    for name, start in STARTS.items():
        found = times_in_turn(start, checkouts[:1] if name in OF_OURS_ONLY else checkouts, options)
        for checkout, (times, loads) in found.items():
            each = " ".join(f"{t:.2f}" for t in times)
            other = [median(times) / median(of) for who, (of, _) in found.items() if who.who != checkout.who]
            share = f"{other[0]:.2f}" if other and checkout.who == "ours" else ""
            rows.append([name, checkout.who, median(times), min(times), max(times), median(loads), each, share])
    show(rows)
    note = f"`load before`: cores that other processes used just before; above {quiet.LIMIT} the times are too long."
    write_csv(options.out / "startup.csv", rows)
    write_markdown(options.out / "startup.md", "Start-up", [
        __doc__.split("\n\n", 2)[2], rows, note, stamp(versions("tensorflow", "keras", "hydra-core", "numpy"))
    ])  # fmt: skip


if __name__ == "__main__":
    main()
