"""What a conversion collects, and how it reads a section of the YAML without losing a key."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sac.errors import UserError

NO_DEFAULT = object()
MAX_SHOWN_LETTERS = 40  # of a value in a note


@dataclass
class Converted:
    """Keys of this program with the key of ML-Agents that each comes from, and notes about all others."""

    behavior: str
    trainer: str
    keys: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def set(self, key: str, value: Any, origin: str) -> None:
        """Sets a key that `origin` of ML-Agents becomes."""
        self.keys[key], self.origins[key] = value, origin

    def note(self, origin: str, words: str) -> None:
        """Says of a key of ML-Agents that it becomes nothing, and what to do."""
        self.notes.append(f"{origin}: {words}")


class Section:
    """One section of the YAML; every key that nobody takes is reported as unknown."""

    def __init__(self, name: str, found: Any, out: Converted):
        if found is not None and not isinstance(found, Mapping):
            raise UserError(f"{name}={found}: a section with keys is expected")
        self.name, self.out = name, out
        self._left = {str(key): value for key, value in (found or {}).items()}
        self._known: list[str] = []

    def take(self, key: str) -> Any:
        """The value of a key; None where it is absent or null."""
        self._known.append(key)
        return self._left.pop(key, None)

    def number(self, key: str, least: float = -math.inf, above: float = -math.inf) -> float | None:
        """The same for a number in a range; YAML reads 5e5 as text. Raises UserError for anything else."""
        value = self.take(key)
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number) or number < least or number <= above:
            bound = f" from {least:g} on" if least > -math.inf else f" above {above:g}" if above > -math.inf else ""
            raise UserError(f"{self.where(key)}={value}: allowed is a number{bound}")
        return number

    def whole(self, key: str, least: int = 0) -> int | None:
        """The same for a whole number."""
        value = self.number(key, least)
        if value is not None and value != int(value):
            raise UserError(f"{self.where(key)}={value:g}: allowed is a whole number")
        return None if value is None else int(value)

    def flag(self, key: str) -> bool | None:
        """The same for true or false, also as text."""
        value = self.take(key)
        if value is None or isinstance(value, bool):
            return value
        if str(value).lower() not in ("true", "false"):
            raise UserError(f"{self.where(key)}={value}: allowed is true or false")
        return str(value).lower() == "true"

    def move(self, key: str, to: str) -> float | None:
        """Sets our key `to` to a number of the section, if it is there; returns the number."""
        value = self.number(key)
        if value is not None:
            self.out.set(to, value, self.where(key))
        return value

    def move_whole(self, key: str, to: str) -> None:
        """The same for a whole number."""
        value = self.whole(key)
        if value is not None:
            self.out.set(to, value, self.where(key))

    def say(self, key: str, words: str, unless: Any = NO_DEFAULT) -> None:
        """Notes a key that has no counterpart, if it is there and is not `unless`, its default."""
        value = self.take(key)
        if value is not None and value != unless:
            self.out.note(f"{self.where(key)}={_short(value)}", words)

    def where(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def end(self) -> None:
        """Reports the keys that nobody took."""
        for key in self._left:
            near = difflib.get_close_matches(key, self._known, 1, 0.6)
            hint = f": did you mean {near[0]}?" if near else ""
            self.out.note(self.where(key), f"ML-Agents knows no such key, and it was left out{hint}")


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_SHOWN_LETTERS else f"{text[: MAX_SHOWN_LETTERS - 3]}..."
