"""Ours and theirs in turn: each measurement is a process of its own, and the table compares medians.

A measurement during which others took more than quiet.LIMIT cores is kept in the table but never compared.
A benchmark script calls itself with `--child <JSON>`; the child prints one JSON line with its numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import quiet

MARK = "MEASURED "
OUR_OWN = "ours", "numpy"  # whose cases run in this Python
BEFORE = "before"  # another checkout of ours
POLL_SECONDS = 0.05  # between two looks at whether a child has ended


@dataclass(frozen=True, eq=False)
class Case:
    """One thing to measure: `who` is ours, before, sbx, sb3 or numpy; `row` says what."""

    who: str
    row: str
    options: Mapping[str, object]

    @property
    def job(self) -> str:
        return json.dumps({"who": "ours" if self.who == BEFORE else self.who, **self.options})


class Contestant(NamedTuple):
    """The Python and the benchmark script that measure the cases of one name."""

    python: str
    script: str


def add_options(parser: argparse.ArgumentParser, peers: Sequence[str] = ("sbx", "sb3")) -> None:
    """The options that all paired benchmarks have."""
    parser.add_argument("--peer-python", help="Python of the environment with stable-baselines3 and sbx-rl")
    parser.add_argument("--peers", nargs="*", default=[*peers], help="which of them")
    parser.add_argument("--vs", type=Path, metavar="PATH", help="another checkout of ours to compare with, as `before`")
    parser.add_argument("--vs-python", default=sys.executable, help="the Python for it (default: this one)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for a quiet machine each time")
    parser.add_argument("--child", help=argparse.SUPPRESS)


def contestants(script: str, options: argparse.Namespace) -> dict[str, Contestant]:
    """Who takes part, by name: ours always, peers where a Python for them is given, `before` where a checkout is."""
    found = {name: Contestant(sys.executable, script) for name in OUR_OWN}
    if options.peer_python:
        found |= {name: Contestant(options.peer_python, script) for name in options.peers}
    if options.vs:
        found[BEFORE] = Contestant(options.vs_python, str(options.vs.resolve() / "benchmarks" / Path(script).name))
    return found


def measured(values: Mapping[str, object]) -> None:
    """How a child hands its numbers over."""
    print(MARK + json.dumps(values), flush=True)


def child(contestant: Contestant, case: Case, seconds: float) -> dict[str, float]:
    """Runs one case in a process of its own; its numbers, `peak MB` (largest resident memory) unless it says so itself.

    Raises RuntimeError with the end of its output when it fails.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        words = [contestant.python, contestant.script, "--child", case.job]
        process = subprocess.Popen(words, stdout=out, stderr=err)
        try:
            code, peak = _ended(process, seconds)
        except TimeoutError:
            raise RuntimeError(f"{case.who} {case.row}: more than {seconds:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        for file in (out, err):
            file.seek(0)
        lines = [line for line in out if line.startswith(MARK)]
        if code or not lines:
            raise RuntimeError(f"{case.who} {case.row}: exit {code}\n{err.read()[-2000:]}")
    return {"peak MB": peak} | json.loads(lines[-1].removeprefix(MARK))


def _ended(process: subprocess.Popen, seconds: float) -> tuple[int, float]:
    """Waits for a process; its exit code and its largest resident memory in MB. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
        time.sleep(POLL_SECONDS)
    raise TimeoutError


def rounds(
    cases: Sequence[Case], by_name: Mapping[str, Contestant], repeats: int, patience: float, seconds: float = 900.0
) -> dict[Case, list[dict]]:
    """`repeats` times each case in turn, as far as its contestant takes part.

    Before each one it waits up to `patience` seconds for a quiet machine; a child gets `seconds`.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception ends the child, a plain SIGTERM would not
    cases = [case for case in cases if case.who in by_name]
    found: dict[Case, list[dict]] = {case: [] for case in cases}
    for i in range(repeats):
        for case in cases:
            quiet.wait(patience)
            found[case].append(child(by_name[case.who], case, seconds))
            line = ", ".join(f"{k} {v:.4g}" for k, v in found[case][-1].items() if isinstance(v, float))
            print(f"round {i + 1}: {case.who} {case.row}: {line}", file=sys.stderr, flush=True)
    return found


def medians(found: Mapping[Case, list[dict]], name: str) -> dict[Case, float]:
    return {case: median(values[name] for values in runs) for case, runs in found.items()}


def compared(found: Mapping[Case, list[dict]]) -> dict[Case, list[dict]]:
    """The measurements that others did not disturb."""
    kept = {case: [x for x in runs if not x["others"] > quiet.LIMIT] for case, runs in found.items()}
    return {case: runs for case, runs in kept.items() if runs}


def table(found: Mapping[Case, list[dict]], rate: str, *also: str) -> list[list]:
    """Header and a row for each case: medians, every run (`!`: disturbed), times each peer's median of the same thing.

    Medians are over undisturbed runs; where there are none, over all, and nothing is compared.
    """
    clean = compared(found)
    rates, *more = (medians({**found, **clean}, name) for name in (rate, *also))
    peers = sorted({case.who for case in found} - set(OUR_OWN))
    rows: list[list] = [["what", "who", rate, *also, "others", "runs", *(f"x {peer}" for peer in peers)]]
    for case, runs in found.items():
        same = {c.who: rates[c] for c in clean if c.options["against"] == case.options["against"]}
        ok = [case in clean and peer in same and case.who != peer for peer in peers]
        ratios = [f"{rates[case] / same[peer]:.2f}" if good else "" for peer, good in zip(peers, ok)]
        each = " ".join(f"{x[rate]:.0f}{'!' * (x['others'] > quiet.LIMIT)}" for x in runs)
        values = [column[case] for column in (rates, *more)]
        rows.append([case.row, case.who, *values, median(x["others"] for x in runs), each, *ratios])
    return rows


NOTE = (
    "`others`: cores that other processes used meanwhile; runs marked `!` had more than "
    f"{quiet.LIMIT} and are not compared. `x peer`: times the peer's rate."
)
