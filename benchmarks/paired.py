"""Ours and theirs in turn: each measurement is a process of its own, and the table compares medians.

A benchmark script calls itself with `--child <JSON>`; the child prints one JSON line with its numbers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

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
    script: str, cases: Sequence[Case], repeats: int, peer_python: str | None, seconds: float = 900.0
) -> dict[Case, list[dict]]:
    """`repeats` times each case in turn, peers only where a Python for them is given."""
    cases = [case for case in cases if case.who == "ours" or peer_python]
    found: dict[Case, list[dict]] = {case: [] for case in cases}
    for i in range(repeats):
        for case in cases:
            python = sys.executable if case.who == "ours" else str(peer_python)
            found[case].append(child(script, python, case, seconds))
            line = ", ".join(f"{k} {v:.4g}" for k, v in found[case][-1].items() if isinstance(v, float))
            print(f"round {i + 1}: {case.who} {case.row}: {line}", file=sys.stderr, flush=True)
    return found


def medians(found: Mapping[Case, list[dict]], name: str) -> dict[Case, float]:
    return {case: median(values[name] for values in runs) for case, runs in found.items()}


def table(found: Mapping[Case, list[dict]], rate: str, cpu: str) -> list[list]:
    """Header and a row for each case: rate, CPU-ms, and how many times each peer's rate of the same row it is."""
    rates, cpus = medians(found, rate), medians(found, cpu)
    peers = sorted({case.who for case in found} - {"ours"})
    rows: list[list] = [["what", "who", rate, cpu, "runs", *(f"x {peer}" for peer in peers)]]
    for case in found:
        same = {other.who: rates[other] for other in found if other.options["against"] == case.options["against"]}
        ratios = [f"{rates[case] / same[p]:.2f}" if case.who != p and p in same else "" for p in peers]
        each = " ".join(f"{values[rate]:.0f}" for values in found[case])
        rows.append([case.row, case.who, rates[case], cpus[case], each, *ratios])
    return rows
