"""Where a run's words go: warnings to the screen, everything to log.log."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextlib.contextmanager
def run_log(path: Path | None) -> Iterator[None]:
    """Adds the handlers of one run and takes them away after it. `path` None: no file."""
    root = logging.getLogger()
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.WARNING)
    screen.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handlers: list[logging.Handler] = [screen]
    if path is not None:
        handlers.append(logging.FileHandler(path, encoding="utf8"))
        handlers[-1].setFormatter(logging.Formatter(FORMAT))
    level = root.level
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    except Exception:
        logging.getLogger("sac").debug("the run failed", exc_info=True)
        raise
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
