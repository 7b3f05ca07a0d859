"""The lineage of a population as a CSV file."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from sac.population.evolution import Descent

log = logging.getLogger(__name__)


def read_lineage(path: Path) -> list[Descent]:
    """The undamaged lines of a lineage.csv. It is a record only: the evolution does without the lost lines."""
    text = path.read_bytes().decode(errors="replace").replace("\0", "") if path.exists() else ""
    kinds: dict[str, Callable[[str], Any]] = {
        field.name: {"int": int, "float": float, "str": str}[str(field.type)] for field in fields(Descent)
    }
    intact, damaged = [], 0
    for row in csv.DictReader(io.StringIO(text)):
        try:
            intact.append(Descent(**{name: kinds[name](value) for name, value in row.items() if value is not None}))
        except (ValueError, KeyError, TypeError):
            damaged += 1
    if damaged or (path.exists() and not text):
        log.warning("%s is damaged: %d lines of it are lost", path, damaged)
    return intact


def as_csv(lineage: list[Descent]) -> str:
    """The text of a lineage.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Descent)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(line) for line in lineage)
    return text.getvalue()
