"""What the doctor finds: a sentence with a measured figure, how bad it is, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any


class Severity(IntEnum):
    """How bad a finding is; STOPS means that training cannot begin or cannot learn."""

    NOTE = 0
    WARNING = 1
    STOPS = 2


@dataclass(frozen=True)
class Finding:
    """`check` names the check, `what` says what was seen with its figure, `cure` what to do and which key to change."""

    check: str
    severity: Severity
    what: str
    cure: str = ""

    def plain(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self) | {"severity": self.severity.name.lower()}


def any_stops(findings: Iterable[Finding]) -> bool:
    """Whether one of the findings will stop training."""
    return any(finding.severity is Severity.STOPS for finding in findings)


def note(check: str, what: str, cure: str = "") -> Finding:
    return Finding(check, Severity.NOTE, what, cure)


def warning(check: str, what: str, cure: str) -> Finding:
    return Finding(check, Severity.WARNING, what, cure)


def stops(check: str, what: str, cure: str) -> Finding:
    return Finding(check, Severity.STOPS, what, cure)
