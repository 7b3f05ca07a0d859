"""run.py with less patience after a signal: `python hanging_run.py env=...`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "envs")]


def main() -> None:
    import run
    from sac.runs import signals

    signals.NOTICE_AFTER_SECONDS, signals.RESCUE_AFTER_SECONDS = 0.3, 1.5
    run.main()


if __name__ == "__main__":
    sys.argv[0] = "run.py"
    main()
