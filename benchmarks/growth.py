"""How the cost of an update, of a row and of an actor grows.

    python benchmarks/growth.py [--repeats 3] [--seconds 4] [--only capacity width ...]

Each line changes one thing; the rest is as shipped: observation 17, action 6, 2x256 ReLU, two critics, batch 256, a
full prioritized memory of 131,072 rows, K = 16 updates a call. An update includes drawing the batch and giving the
errors back. `ms` is wall time and CPU-ms that of all threads, both for one update; "bytes a row" is the memory's size.
Pictures have batch 32, 4,096 rows and K = 1. Actors: cells of HalfCheetah-v5 whose actors never wait
(`replay.limiter=bucket`, `hydra/launcher=roles`), at one update a step as far as the learner keeps up.
Each measurement is a process of its own, all in turn; medians. Writes growth.csv, growth-actors.csv,
growth.md and growth.png into docs/results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import roles
from benchmarks.paired import Case, contestants, measured, medians, rounds
from benchmarks.report import RESULTS, show, stamp, versions, write_csv, write_markdown
from benchmarks.updates import BATCH, HIDDEN, ours, timed

ROWS, K = 2**17, 16
PICTURES = {"rows": 4096, "batch": 32, "k": 1}
GROWING: Mapping[str, Sequence[tuple[float, Mapping[str, object]]]] = {  # what: (its value, the options that make it)
    "capacity": [(2**n, {"rows": 2**n}) for n in range(14, 22)],
    "width": [(n, {"hidden": [n, n]}) for n in (64, 128, 256, 512, 1024)],
    "critics": [(n, {"ensemble": n}) for n in (1, 2, 4, 8, 16)],
    "updates a call": [(n, {"k": n}) for n in (1, 2, 4, 8, 16, 32, 64)],
    "batch": [(n, {"batch": n}) for n in (32, 64, 128, 256, 512, 1024)],
    "picture side": [(n, {"side": n, **PICTURES}) for n in (16, 32, 64, 84)],
}
ACTORS = (1, 2, 3, 4)
LOGARITHMIC = set(GROWING) - {"picture side"}
ENV = "mujoco/half_cheetah"


def measure(job: Mapping) -> dict[str, object]:
    """The numbers of one job, in this process."""
    size = {"hidden": HIDDEN, "ensemble": 2, "rows": ROWS, "batch": BATCH, "side": 0} | job["size"]
    k = size.pop("k", K)
    call = ours("train", "prioritized", k, **size)
    found = timed(call, k, job["seconds"])
    return found | {"ms": 1e3 / found["updates/s"], "bytes a row": float(call.bytes_per_row)}


def draw(lines: Mapping[str, tuple[list[float], list[float]]], units: Mapping[str, str], path: Path) -> None:
    """One panel for each line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.5), layout="constrained")
    for axes, (what, (x, y)) in zip(figure.subplots(2, 4).flat, lines.items()):
        axes.plot(x, y, "o-", markersize=4)
        if what in LOGARITHMIC:
            axes.set_xscale("log", base=2)
        axes.set_xlabel(what.removesuffix(" (bytes)"))
        axes.set_ylabel(units[what])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    for axes in figure.axes[len(lines) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for a quiet machine each time")
    parser.add_argument("--updates", type=int, default=2000, help="of a cell, after its warm-up")
    parser.add_argument("--only", nargs="*", default=[*GROWING, "actors"], choices=[*GROWING, "actors"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.peer_python = options.vs = None
    if options.child:
        measured(measure(json.loads(options.child)))
        return
    chosen = {what: steps for what, steps in GROWING.items() if what in options.only}
    cases = {
        what: [Case("ours", f"{what} {value}", {"size": size, "seconds": options.seconds}) for value, size in steps]
        for what, steps in chosen.items()
    }
    found = rounds(
        [case for row in cases.values() for case in row],
        contestants(__file__, options),
        options.repeats,
        options.patience,
    )
    names = ("ms", "CPU-ms", "bytes a row", "peak MB", "others")
    middle = {name: medians(found, name) for name in names}
    rows: list[list] = [["what", "value", *names, "runs (ms)"]]
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for what, row in cases.items():
        values = [value for value, _ in chosen[what]]
        lines[what] = values, [middle["ms"][case] for case in row]
        for value, case in zip(values, row):
            each = " ".join(f"{run['ms']:.1f}" for run in found[case])
            rows.append([what, value, *(middle[name][case] for name in names), each])
    if "picture side" in cases:
        row = cases["picture side"]
        lines["picture side (bytes)"] = lines["picture side"][0], [middle["bytes a row"][case] for case in row]
    units = dict.fromkeys(lines, "ms an update") | {"picture side (bytes)": "bytes a row", "actors": "steps/s"}
    actors: list[list] = [["actors", "steps/s", "updates/s", "updates a step"]]
    if "actors" in options.only:
        for n in ACTORS:
            words = (*roles.CELL, f"hydra.launcher.actors={n}", "replay.limiter=bucket")
            cell = roles.measured(ENV, words, options.updates)
            actors.append([n, *(cell[name] for name in actors[0][1:])])
        lines["actors"] = [*ACTORS], [row[1] for row in actors[1:]]
    show(rows)
    show(actors)
    write_csv(options.out / "growth.csv", rows)
    write_csv(options.out / "growth-actors.csv", actors)
    draw(lines, units, options.out / "growth.png")
    write_markdown(options.out / "growth.md", "How cost grows", [
        __doc__.split("\n\n", 2)[2], "![Cost against size](growth.png)", rows, actors,
        stamp(versions("tensorflow", "keras", "numpy", "pyzmq")),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
