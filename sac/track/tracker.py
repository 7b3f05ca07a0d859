"""Where numbers go: one tracker, any number of sinks, none of which can stop training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

log = logging.getLogger(__name__)


class Sink(Protocol):
    """One place that keeps or shows numbers. `step` counts environment steps, everywhere.

    A sink may also have `progress(step, updates)` (called very often), `images(values, step)`, and a `title`, which
    warnings call it by.
    """

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Takes some of the run's metrics, named `area/name`."""

    def close(self, exit_code: int, reason: str, result: Mapping[str, Any]) -> None:
        """Ends the record; exit code 0 means success, `result` is the run's final result."""


class Tracker:
    """Passes everything to all sinks; one that fails is reported once in the log and dropped.

    As a context manager it closes with exit code 1 and the exception as reason when one passes through.
    """

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self._sinks: list[Sink] = list(sinks)
        self._closed = False

    @classmethod
    def open(cls, makers: Sequence[Callable[[], Sink | None]]) -> Self:
        """Makes each sink; one that cannot be made is reported and left out, None is left out silently."""
        sinks = []
        for make in makers:
            try:
                sinks.append(make())
            except Exception as error:
                log.warning("%s cannot be opened: %s", _title(make), _words(error))
        return cls([sink for sink in sinks if sink is not None])

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """Those that still work."""
        return tuple(self._sinks)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._all("scalars", values, step)

    def progress(self, step: int, updates: int) -> None:
        """Where the run is; cheap enough for every vector step."""
        self._all("progress", step, updates)

    def images(self, values: Mapping[str, np.ndarray], step: int) -> None:
        """Pictures [H, W, 1 or 3] uint8, by name."""
        if values:
            self._all("images", values, step)

    def close(self, exit_code: int = 0, reason: str = "", result: Mapping[str, Any] | None = None) -> None:
        """Closes every sink; later calls do nothing."""
        if not self._closed:
            self._closed = True
            self._all("close", exit_code, reason, dict(result or {}))
            self._sinks = []

    def _all(self, method: str, *args: Any) -> None:
        for sink in tuple(self._sinks):
            call = getattr(sink, method, None)
            if call is None:
                continue
            try:
                call(*args)
            except Exception as error:  # whatever a disk or a server does: training goes on
                self._sinks.remove(sink)
                log.warning("%s failed in %s and is dropped: %s", _title(type(sink)), method, _words(error))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close(*_outcome(error))


def _title(maker: Any) -> str:
    """What a user calls the sink that this class or function makes."""
    made_by = getattr(maker, "func", maker)
    return getattr(made_by, "title", None) or getattr(made_by, "__name__", None) or type(made_by).__name__


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _outcome(error: BaseException | None) -> tuple[int, str]:
    """Exit code and reason as the shell would see them."""
    if error is None:
        return 0, ""
    if isinstance(error, KeyboardInterrupt):
        return 130, "KeyboardInterrupt"
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        return code, f"exit {code}"
    return 1, f"{type(error).__name__}: {error}"
