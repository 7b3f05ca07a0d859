"""Who is in an episode: Unity's agent ids as small stream numbers, unusable rows in a row, agents that vanish."""

from __future__ import annotations

import logging

from sac.errors import UserError

logger = logging.getLogger(__name__)

FAULTS_IN_A_ROW = 10
VANISHED_AFTER = 1000  # exchanges in which others asked for actions; then a silent agent counts as gone
LOGGED_FAULTS = 10  # then every hundredth


class Agents:
    """Maps Unity's ids to streams 0, 1, 2 ...; an id that appears later takes a stream nobody uses."""

    def __init__(self):
        self.faults = 0  # unusable rows so far
        self._stream: dict[int, int] = {}  # Unity id -> stream
        self._free: list[int] = []  # streams of a former player
        self._open: dict[int, int] = {}  # Unity id in an episode -> turn of its last word
        self._in_a_row: dict[int, int] = {}
        self._turn = 0
        self.count = 0  # streams

    def asks(self, agent: int) -> int:
        """A usable request: the episode is (still) open. Gives the stream."""
        self._in_a_row.pop(agent, None)
        self._open[agent] = self._turn
        return self._stream_of(agent)

    def ends(self, agent: int) -> int | None:
        """A usable last observation. None when no episode was open: the agent ended before it ever asked."""
        self._in_a_row.pop(agent, None)
        return self._stream[agent] if self._open.pop(agent, None) is not None else None

    def fault(self, agent: int, what: str) -> int | None:
        """An unusable row; gives the stream that is lost by it, if one was open.

        Raises:
          UserError: ten of them in a row from one agent.
        """
        self.faults += 1
        if self.faults <= LOGGED_FAULTS or self.faults % 100 == 0:
            logger.warning("Unity agent %d: %s; its episode is cut off here (fault %d)", agent, what, self.faults)
        self._in_a_row[agent] = self._in_a_row.get(agent, 0) + 1
        if self._in_a_row[agent] >= FAULTS_IN_A_ROW:
            raise UserError(
                f"Unity agent {agent} sent {FAULTS_IN_A_ROW} unusable observations or rewards in a row, the last one: "
                f"{what}. Look for a division by zero or a lost physics body in the scene."
            )
        return self._stream[agent] if self._open.pop(agent, None) is not None else None

    def vanished(self) -> list[int]:
        """Counts one turn and gives the streams of agents that have said nothing for very long."""
        self._turn += 1
        if self._turn % 100:
            return []
        gone = [agent for agent, last in self._open.items() if self._turn - last >= VANISHED_AFTER]
        for agent in gone:
            del self._open[agent]
            logger.warning("Unity agent %d has not asked for %d turns: taken as gone", agent, VANISHED_AFTER)
        return [self._stream[agent] for agent in gone]

    def drop_all(self) -> list[int]:
        """A reset: all episodes are over. Gives the streams that were open."""
        dropped = [self._stream[agent] for agent in self._open]
        self._open.clear()
        return dropped

    def forget(self) -> list[int]:
        """A new player: ids mean other agents now. Gives the streams that were open."""
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
