"""Ours and theirs in turn: each measurement is a process of its own, and the table compares medians.

A measurement during which others took more than quiet.LIMIT cores is kept in the table but never compared.
A benchmark script calls itself with `--child <JSON>`; the child prints one JSON line with its numbers.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks import quiet

MARK = "MEASURED "


@dataclass(frozen=True, eq=False)
class Case:
    """One thing to measure: `who` is ours, sbx or sb3; `row` says what, equal words being compared."""

    who: str
    row: str
    options: Mapping[str, object]

    @property
    def job(self) -> str:
        return json.dumps({"who": self.who, **self.options})


def measured(values: Mapping[str, object]) -> None:
    """How a child hands its numbers over."""
    print(MARK + json.dumps(values), flush=True)


def child(script: str, python: str, case: Case, seconds: float) -> dict[str, float]:
    """Runs one case in a process of its own. Raises RuntimeError with the end of its output when it fails."""
    words = [python, script, "--child", case.job]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{case.who} {case.row}: more than {seconds:g} s") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        raise RuntimeError(f"{case.who} {case.row}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(lines[-1].removeprefix(MARK))


def rounds(
    script: str, cases: Sequence[Case], repeats: int, peer_python: str | None, patience: float, seconds: float = 900.0
) -> dict[Case, list[dict]]:
    """`repeats` times each case in turn, peers only where a Python for them is given.

    Before each one it waits up to `patience` seconds for a quiet machine; a child gets `seconds`.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception ends the child, a plain SIGTERM would not
    cases = [case for case in cases if case.who == "ours" or peer_python]
    found: dict[Case, list[dict]] = {case: [] for case in cases}
    for i in range(repeats):
        for case in cases:
            python = sys.executable if case.who == "ours" else str(peer_python)
            quiet.wait(patience)
            found[case].append(child(script, python, case, seconds))
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
    peers = sorted({case.who for case in found} - {"ours"})
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
