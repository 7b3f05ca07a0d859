"""What fault tests measure: printed, held to a limit, collected by benchmarks/faults.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

FIGURES = "SAC_FIGURES"  # environment variable: the file that they are collected in


def figure(fault: str, what: str, value: float, unit: str, limit: float) -> None:
    """Prints what was measured, records it, and holds it to its limit."""
    print(f"{fault} {what}: {value:.3g} {unit} (at most {limit:g})")
    if FIGURES in os.environ:
        row = {"fault": fault, "what": what, "value": value, "unit": unit, "limit": limit}
        with Path(os.environ[FIGURES]).open("a", encoding="utf8") as file:
            file.write(json.dumps(row) + "\n")
    assert value <= limit, f"{fault} {what}: {value:.3g} {unit}, at most {limit:g}"
