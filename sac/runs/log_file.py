"""The log of a run: warnings go to the screen, everything goes to log.log."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from sac.errors import UserError
from sac.screen import SaidOnce

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextlib.contextmanager
def run_log(path: Path | None, console: Console | None = None) -> Iterator[None]:
    """Adds the log handlers of one run, and removes them after it. Without a `path` no file is written.

    In a terminal warnings go through `console`, which prints them above its live line. Raises UserError when the file
    cannot be opened.
    """
    handlers: list[logging.Handler] = [_screen(console)]
    if path is not None:
        try:
            handlers.append(LogFile(path, encoding="utf8"))
            handlers[-1].setFormatter(logging.Formatter(FORMAT))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    for handler in handlers:
        handler.addFilter(SaidOnce())
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    except Exception as error:
        _record_failure(handlers[1:], error)
        raise
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def _screen(console: Console | None) -> logging.Handler:
    if console is not None and console.is_terminal:
        screen: logging.Handler = RichHandler(console=console, show_time=False, show_path=False, rich_tracebacks=False)
    else:
        screen = logging.StreamHandler(sys.stderr)
        screen.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    screen.setLevel(logging.WARNING)
    return screen


def _record_failure(files: list[logging.Handler], error: Exception) -> None:
    """Writes the exception into the files only; the screen shows it when the job ends."""
    bug = None if isinstance(error, UserError) else (type(error), error, error.__traceback__)
    words = "%s" if bug is None else "the run failed: %s"
    record = logging.LogRecord("sac", logging.ERROR, __file__, 0, words, (error,), bug)
    for handler in files:
        handler.handle(record)


class LogFile(logging.FileHandler):
    """A log file whose disk may be full: it is incomplete then, and the run goes on. One warning is printed."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not self.failed:
            self.failed = True
            sys.stderr.write(f"WARNING: {self.baseFilename} is incomplete: {sys.exc_info()[1]}\n")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()
