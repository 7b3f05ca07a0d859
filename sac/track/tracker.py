"""The tracker, which passes metrics to any number of sinks; no failure of a sink stops training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Something that records or shows metrics. `step` always counts environment steps.

    A sink may also have `progress(step, updates)`, which is called very often, `images(values, step)`, and a `title`
    for warnings.
    """

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Records some metrics, each named `area/name`."""

    def close(self, exit_code: int, reason: str, result: Mapping[str, Any]) -> None:
        """Ends the record. Exit code 0 means success; `result` is the final result of the run."""


class Tracker:
    """Passes everything to all sinks; a sink that fails is logged once and dropped.

    As a context manager it closes the sinks at the end, with the exit code and reason of an exception if there is one.
    """

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self._sinks: list[Sink] = list(sinks)
        self._closed = False

    @classmethod
    def open(cls, makers: Sequence[Callable[[], Sink | None]]) -> Self:
        """Makes each sink. One that cannot be made is logged and left out; None is left out silently."""
        sinks = []
        for make in makers:
            try:
                sinks.append(make())
            except Exception as error:
                log.warning("%s cannot be opened: %s", _title(make), _words(error))
        return cls([sink for sink in sinks if sink is not None])

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """The sinks that still work."""
        return tuple(self._sinks)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Passes on metrics by name."""
        self._all("scalars", values, step)

    def progress(self, step: int, updates: int) -> None:
        """Passes on how far the run is; cheap enough for every vector step."""
        self._all("progress", step, updates)

    def images(self, values: Mapping[str, np.ndarray], step: int) -> None:
        """Passes on pictures [H, W, 1 or 3] uint8 by name."""
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
            except Exception as error:  # no fault of a disk or a server stops training
                self._sinks.remove(sink)
                log.warning("%s failed in %s and is dropped: %s", _title(type(sink)), method, _words(error))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close(*_outcome(error))


def _title(maker: Any) -> str:
    """The name, for messages, of the sink that this class or function makes."""
    made_by = getattr(maker, "func", maker)
    return getattr(made_by, "title", None) or getattr(made_by, "__name__", None) or type(made_by).__name__


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _outcome(error: BaseException | None) -> tuple[int, str]:
    """Exit code and reason, as a shell would see them."""
    if error is None:
        return 0, ""
    if isinstance(error, KeyboardInterrupt):
        return 130, "KeyboardInterrupt"
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        return code, f"exit {code}"
    return 1, f"{type(error).__name__}: {error}"
