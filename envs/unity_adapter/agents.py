"""The agents of a Unity scene: their stream numbers, their open episodes, their faults in a row, their silence."""

from __future__ import annotations

import logging

from sac.errors import UserError

logger = logging.getLogger(__name__)

MAX_FAULTS_IN_A_ROW = 10
VANISHED_AFTER_TURNS = 1000  # an agent that has asked for no action in so many turns of others counts as gone
VANISHED_CHECK_TURNS = 100  # turns between two looks for such agents
FAULTS_LOGGED_ONE_BY_ONE = 10  # the first faults of a run; after them only some are logged
FAULTS_PER_LATER_LOG = 100


class AgentStreams:
    """Maps Unity's agent ids to streams 0, 1, 2 ...; a new id takes over a stream without an open episode, if any."""

    def __init__(self) -> None:
        self.faults = 0  # unusable rows of all agents so far
        self._stream: dict[int, int] = {}  # Unity id -> stream
        self._free: list[int] = []  # streams of a former player, which new ids take first
        self._open: dict[int, int] = {}  # Unity id with an open episode -> turn of its last request
        self._in_a_row: dict[int, int] = {}  # Unity id -> faults since its last usable row
        self._turn = 0
        self.count = 0  # of streams

    def asks(self, agent: int) -> int:
        """Records a usable request, which opens an episode or continues it. Returns the stream."""
        self._in_a_row.pop(agent, None)
        self._open[agent] = self._turn
        return self._stream_of(agent)

    def ends(self, agent: int) -> int | None:
        """Records a usable last observation. Returns the stream; None when the agent ended before it ever asked."""
        self._in_a_row.pop(agent, None)
        return self._stream[agent] if self._open.pop(agent, None) is not None else None

    def fault(self, agent: int, what: str) -> int | None:
        """Records an unusable row. Returns the stream whose open episode is lost, if there is one.

        Raises:
          UserError: MAX_FAULTS_IN_A_ROW of them in a row from one agent.
        """
        self.faults += 1
        if self.faults <= FAULTS_LOGGED_ONE_BY_ONE or self.faults % FAULTS_PER_LATER_LOG == 0:
            logger.warning("Unity agent %d: %s; its episode is cut off here (fault %d)", agent, what, self.faults)
        self._in_a_row[agent] = self._in_a_row.get(agent, 0) + 1
        if self._in_a_row[agent] >= MAX_FAULTS_IN_A_ROW:
            raise UserError(
                f"Unity agent {agent} sent {MAX_FAULTS_IN_A_ROW} unusable observations or rewards in a row, the last "
                f"one: {what}. Look for a division by zero or a lost physics body in the scene."
            )
        return self._stream[agent] if self._open.pop(agent, None) is not None else None

    def vanished(self) -> list[int]:
        """Counts one turn and returns the streams of agents that have not asked for VANISHED_AFTER_TURNS turns."""
        self._turn += 1
        if self._turn % VANISHED_CHECK_TURNS:
            return []
        gone = [agent for agent, last in self._open.items() if self._turn - last >= VANISHED_AFTER_TURNS]
        for agent in gone:
            del self._open[agent]
            logger.warning("Unity agent %d has not asked for %d turns: taken as gone", agent, VANISHED_AFTER_TURNS)
        return [self._stream[agent] for agent in gone]

    def drop_all(self) -> list[int]:
        """Closes all episodes, for a reset. Returns the streams that had one."""
        dropped = [self._stream[agent] for agent in self._open]
        self._open.clear()
        return dropped

    def forget(self) -> list[int]:
        """Drops all ids, which mean other agents in a new player. Returns the streams that had an open episode."""
        dropped = self.drop_all()
        self._stream.clear()
        self._in_a_row.clear()
        self._free = list(range(self.count))
        return dropped

    def _stream_of(self, agent: int) -> int:
        if agent in self._stream:
            return self._stream[agent]
        unused = next((other for other in self._stream if other not in self._open), None)
        if self._free:
            stream = self._free.pop(0)
        elif unused is not None:
            stream = self._stream.pop(unused)
            self._in_a_row.pop(unused, None)
        else:
            stream, self.count = self.count, self.count + 1
        self._stream[agent] = stream
        return stream
