"""Log records that a run shows once, however often they are logged."""

from __future__ import annotations

import logging

ONCE = {"once": True}  # the keyword `extra` of a logging call whose record is shown once in a run


class SaidOnce(logging.Filter):
    """Lets each text of the records that carry `extra=ONCE` pass once, and all other records always.

    A training environment and its evaluation environment give the same warnings; the user reads each of them once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(record, "once", False):
            return True
        text = record.getMessage()
        new = text not in self._said
        self._said.add(text)
        return new
