"""The evolver's side of the wire: takes evaluations, makes generations, and tells each learner its new networks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import numpy as np

from sac.population.evolution import Evolution
from sac.population.numbers import of_arrays
from sac.population.store import PopulationStore
from sac.population.strategy import Networks
from sac.wire.codec import Message
from sac.wire.peer import Peer
from sac.wire.server import Server

log = logging.getLogger(__name__)
SETTLING_SECONDS = 5.0  # after the start, in which learners connect before a generation, if their number is unknown
RETURN_SECONDS = 60.0  # after the start, in which a generation waits for the known learners, which may still be loading
NETWORKS_TIMEOUT_SECONDS = 60.0  # time for the donors to send their networks


class EvolverServer:
    """Answers the learners.

    Each decision is saved before a learner hears of it, and a learner that reports an older number is told its
    change again. So this process may be killed at any moment. `learners` is how many there are; None: those that come.
    """

    def __init__(self, server: Server, evolution: Evolution, store: PopulationStore, learners: int | None = None):
        self.server, self.evolution, self._store, self._learners = server, evolution, store, learners
        self._began_at_seconds = time.monotonic()
        self._donors: dict[str, Networks | None] = {}  # learners that were asked for networks, and what they sent
        self._asked_at_seconds = 0.0
        self._to_note: list[tuple[Peer, int]] = []  # evaluations to confirm once they are saved: learner, step
        self._one_ended = False  # whether a learner has ended since this process started
        self._may_return = {name for name, member in evolution.members.items() if member.ended}  # they may be resumed
        self._handlers: dict[str, Callable[[Peer, Message], None]] = {
            "evaluated": self._evaluated, "what_am_i?": self._tell, "networks": self._take, "over": self._over,
            "rows": self._pass_on,
        }  # fmt: skip

    @property
    def ended(self) -> bool:
        """Whether all learners have ended, at least one of them since the start of this process.

        Those that had ended before may be resumed: they count as ended once RETURN_SECONDS have passed. Where it is
        known how many learners there are, all of them must come, and none is given up.
        """
        members = self.evolution.members
        if not self._one_ended or len(members) < (self._learners or 0):
            return False
        returning = self._may_return if self._learners or self._seconds() <= RETURN_SECONDS else set[str]()
        return not returning and all(member.ended for member in members.values())

    def answer(self, requests: list[tuple[Peer, Message]]) -> None:
        """Handles the requests, and makes a generation when it is time."""
        for peer, message in requests:
            handler = self._handlers.get(message.kind)
            if handler is not None and peer.role == "learner" and message.values.get("assigned", 0) >= 0:
                handler(peer, message)
        self._note()
        if self._donors:
            self._make_generation()
        elif self._settled() and self.evolution.due(self._present()):
            self._donors = dict.fromkeys(self.evolution.donors(self._present()))
            self._asked_at_seconds = time.monotonic()
            if not self._donors:  # a generation that changes nobody
                self._evolve({}, self._present())

    def arrived(self, peer: Peer) -> None:
        """A peer has connected."""
        if peer.role == "learner":
            self._may_return.discard(_name(peer))
            become = self.evolution.join(_name(peer))
            self._store.save(self.evolution, {} if become is None else {_name(peer): become})

    def _settled(self) -> bool:
        """Whether all learners are there, or have had the time to connect since this process started."""
        running = {name for name, member in self.evolution.members.items() if not member.ended} | self._may_return
        complete = self._learners is not None and len(self.evolution.members) >= self._learners  # no other will come
        all_there = running <= self._present() and (complete or self._seconds() > SETTLING_SECONDS)
        return all_there or self._seconds() > RETURN_SECONDS

    def _seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began_at_seconds

    def _present(self) -> set[str]:
        return {_name(peer) for peer in self.server.peers.values()}

    def _evaluated(self, peer: Peer, message: Message) -> None:
        """A learner reports a mean return; one that is not finite reports a divergence."""
        evolution, name = self.evolution, _name(peer)
        if np.isfinite(message["value"]):
            evolution.evaluated(name, message["assigned"], message["step"], message["value"])
        elif message["assigned"] == evolution.members[name].assigned:
            log.warning("%s has numbers that are not finite: it gets other networks or begins anew", name)
            self._donors.pop(name, None)
            self._store.save(evolution, {name: evolution.diverged(name)})
        self._to_note.append((peer, message["step"]))

    def _note(self) -> None:
        """Saves the evaluations that have come together, and confirms them."""
        if self._to_note:
            self._store.save(self.evolution, {})
        for peer, step in self._to_note:
            self.server.say(peer, "noted", step=step)
        self._to_note = []

    def _tell(self, peer: Peer, message: Message) -> None:
        """A learner reports its number: it gets the change that it lacks, or is asked for its networks."""
        name = _name(peer)
        member = self.evolution.members[name]
        member.ended = False
        member.numbers = of_arrays(message.arrays)
        if message["assigned"] > member.assigned:  # the learner comes from a population whose folder was deleted
            self.evolution.set_number(name, message["assigned"])
            self._store.save(self.evolution, {})
        elif message["assigned"] < member.assigned:
            number = {"assigned": member.assigned}
            self.evolution.taken_back(name)
            if member.fresh:
                self.server.say(peer, "begin_anew", **number)
            elif (networks := self._store.networks(name, member.assigned)) is None:
                log.warning("the networks that were saved for %s are damaged: it keeps its own", name)
                self.evolution.set_number(name, message["assigned"])
                self._store.save(self.evolution, {})
            else:
                self.server.send(peer, self.server.codec.encode("become", number, networks))
        elif name in self._donors and self._donors[name] is None:
            self.server.say(peer, "networks?", generation=self.evolution.generation + 1)

    def _take(self, peer: Peer, message: Message) -> None:
        """A learner sends the networks that it was asked for."""
        name = _name(peer)
        now = message["generation"] == self.evolution.generation + 1
        same = message["assigned"] == self.evolution.members[name].assigned
        if not (now and same and name in self._donors):
            return
        if all(np.isfinite(x).all() for x in message.arrays.values()):
            self._donors[name] = {name: np.array(x) for name, x in message.arrays.items()}
        else:
            log.warning("the networks of %s are not finite: it gets other networks or begins anew", name)
            del self._donors[name]
            self._store.save(self.evolution, {name: self.evolution.diverged(name)})

    def _pass_on(self, peer: Peer, message: Message) -> None:
        """A learner shares rows: all others get them."""
        values = {"learner": peer.number, "seq": message["seq"]}
        frames = self.server.codec.encode("rows_of", values, message.arrays)
        for other in self.server.peers.values():
            if other is not peer and other.role == "learner":
                self.server.send(other, frames)

    def _over(self, peer: Peer, message: Message) -> None:
        """A learner reports that its run is over."""
        self.evolution.members[_name(peer)].ended = self._one_ended = True
        self._store.save(self.evolution, {})

    def _make_generation(self) -> None:
        """Makes the generation once all donors have sent their networks, or after the timeout from those that came."""
        waiting = [name for name, networks in self._donors.items() if networks is None]
        if waiting and time.monotonic() - self._asked_at_seconds < NETWORKS_TIMEOUT_SECONDS:
            return
        came = {name: networks for name, networks in self._donors.items() if networks is not None}
        self._donors = {}
        if waiting:
            log.warning("no networks came from %s: it stays as it is", ", ".join(waiting))
        if came:
            self._evolve(came, self._present() - set(waiting))

    def _evolve(self, donors: Mapping[str, Networks], present: set[str]) -> None:
        become = self.evolution.evolve(donors, present)
        self._store.save(self.evolution, become)
        changed = ", ".join(become) or "nobody changes"
        log.info("generation %d: %s", self.evolution.generation, changed + f" from {', '.join(donors)}" * bool(donors))


def _name(peer: Peer) -> str:
    """A learner's name, which also names files; made of its number, since it could call itself anything."""
    return f"learner-{peer.number}"
