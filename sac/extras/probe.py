"""Trial inputs on which an extra builds its networks and checks what they return."""

from __future__ import annotations

from sac.backend import tf
from sac.nets.contract import PROBE, WINDOW


def probes(*widths: int):
    """Pairs of leading axes and zeros [*axes, width] for each width: acting has one leading axis, learning two."""
    for lead in ((PROBE,), (PROBE, WINDOW)):
        yield lead, [tf.zeros((*lead, width)) for width in widths]
