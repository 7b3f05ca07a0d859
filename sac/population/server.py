"""The evolver's side of the wire: evaluations in, generations made, and every learner told what it shall be."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from sac.population.cem import Evolution, Networks
from sac.wire.codec import Message
from sac.wire.peer import Peer
from sac.wire.server import Server

log = logging.getLogger(__name__)
SETTLED = 5.0  # seconds after the start in which learners come (back) before a generation is made
PATIENCE = 60.0  # seconds for the elites to send their networks


class Shelf(Protocol):
    """Keeps what must survive."""

    def save(self, evolution: Evolution, become: Mapping[str, Networks | None]) -> None:
        """Everything of the population, and what learners shall become from now on; all of it or nothing."""

    def networks(self, learner: str, assigned: int) -> Networks | None:
        """What was saved for a learner; None where it is damaged."""


class EvolverServer:
    """Answers what learners ask.

    What is decided is on the shelf before anyone hears of it, and a learner is told what it shall be as often as it
    says that it is something else: so it does not matter when this process is killed.
    """

    def __init__(self, server: Server, evolution: Evolution, shelf: Shelf):
        self.server, self.evolution, self._shelf = server, evolution, shelf
        self._began = time.monotonic()
        self._elites: dict[str, Networks | None] = {}  # who was asked for networks, and what came
        self._asked = 0.0
        self._one_ended = False  # since the start: those of an earlier one may be about to go on
        self._answers = {
            "evaluated": self._evaluated, "what_am_i?": self._tell, "networks": self._take, "over": self._over,
        }  # fmt: skip

    @property
    def over(self) -> bool:
        """All learners that ever came have ended, the last of them just now."""
        return self._one_ended and all(member.ended for member in self.evolution.members.values())

    def answer(self, requests: list[tuple[Peer, Message]]) -> None:
        """Does what was asked for, and makes a generation when it is time."""
        for peer, message in requests:
            answer = self._answers.get(message.kind)
            if answer is not None and peer.role == "learner" and message.values.get("assigned", 0) >= 0:
                answer(peer, message)
        if self._elites:
            self._go_on()
        elif time.monotonic() - self._began > SETTLED and self.evolution.due(self._present()):
            self._elites = dict.fromkeys(self.evolution.elites(self._present()))
            self._asked = time.monotonic()

    def arrived(self, peer: Peer) -> None:
        if peer.role == "learner":
            become = self.evolution.join(_name(peer))
            self._shelf.save(self.evolution, {} if become is None else {_name(peer): become})

    def _present(self) -> set[str]:
        return {_name(peer) for peer in self.server.peers.values()}

    def _evaluated(self, peer: Peer, message: Message) -> None:
        evolution, name = self.evolution, _name(peer)
        told = message["assigned"], message["step"], message["value"]
        if np.isfinite(message["value"]):
            if evolution.evaluated(name, *told):
                self._shelf.save(evolution, {})
        elif message["assigned"] == evolution.members[name].assigned:
            log.warning("%s has a return of %s: it is left out and begins anew", name, message["value"])
            self._elites.pop(name, None)
            self._shelf.save(evolution, {name: evolution.diverged(name)})
        self.server.say(peer, "noted", step=message["step"])

    def _tell(self, peer: Peer, message: Message) -> None:
        name = _name(peer)
        member = self.evolution.members[name]
        member.ended = False
        if message["assigned"] > member.assigned:  # of a population that was removed
            self.evolution.ahead(name, message["assigned"])
            self._shelf.save(self.evolution, {})
        elif message["assigned"] < member.assigned:
            told = {"assigned": member.assigned}
            if member.fresh:
                self.server.say(peer, "begin_anew", **told)
            elif (networks := self._shelf.networks(name, member.assigned)) is None:
                log.warning("what %s was to become is damaged: it stays as it is", name)
                self.evolution.ahead(name, message["assigned"])
                self._shelf.save(self.evolution, {})
            else:
                self.server.send(peer, self.server.codec.encode("become", told, networks))
        elif name in self._elites and self._elites[name] is None:
            self.server.say(peer, "networks?", generation=self.evolution.generation + 1)

    def _take(self, peer: Peer, message: Message) -> None:
        name = _name(peer)
        now = message["generation"] == self.evolution.generation + 1
        same = message["assigned"] == self.evolution.members[name].assigned
        if not (now and same and name in self._elites):
            return
        if all(np.isfinite(x).all() for x in message.arrays.values()):
            self._elites[name] = {name: np.array(x) for name, x in message.arrays.items()}
        else:
            log.warning("the networks of %s are not finite: it is left out and begins anew", name)
            del self._elites[name]
            self._shelf.save(self.evolution, {name: self.evolution.diverged(name)})

    def _over(self, peer: Peer, message: Message) -> None:
        self.evolution.members[_name(peer)].ended = self._one_ended = True
        self._shelf.save(self.evolution, {})

    def _go_on(self) -> None:
        """Makes the generation when all elites have sent their networks, or those have who are there."""
        waiting = [name for name, networks in self._elites.items() if networks is None]
        if waiting and time.monotonic() - self._asked < PATIENCE:
            return
        came = {name: networks for name, networks in self._elites.items() if networks is not None}
        self._elites = {}
        if waiting:
            log.warning("no networks came from %s: it stays as it is", ", ".join(waiting))
        if came:
            self._shelf.save(self.evolution, self.evolution.evolve(came, self._present() - set(waiting)))
            log.info("generation %d: of %s", self.evolution.generation, ", ".join(came))


def _name(peer: Peer) -> str:
    """A learner's, which files are named by: of its number, not of what it calls itself."""
    return f"learner-{peer.number}"
