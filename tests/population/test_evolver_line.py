"""Learners and their evolver over a real line, and what lies on the disk when one of them is killed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sac.errors import UserError
from sac.population import client, evolving_source, server, store
from sac.population.cem import Cem, CemRules
from sac.population.client import EvolverClient
from sac.population.evolution import Evolution, Rules
from sac.population.evolving_source import EvaluationReturns, EvolvingSource
from sac.population.server import EvolverServer
from sac.population.store import PopulationStore
from sac.training.learner import Diverged, diverged
from sac.wire.client import Client
from sac.wire.codec import Message
from sac.wire.discovery import Records
from sac.wire.handshake import Description
from sac.wire.messages import evolver_codec
from sac.wire.peer import ClientId
from sac.wire.server import Server
from tests.full_disk import small_files
from tests.wire.wire_kit import InThread, wait_for

COLUMNS = {"w": ((4, 3), "float32"), "b": ((), "float32")}
pytestmark = pytest.mark.timeout(60)
SAME = Description({"networks": "these"}, {})
RULES = Rules(length=2, min_length=1, seconds=1e9)
CEM = CemRules(best=0.5, remove_worst=-1, keep_elites=True, min_std=0.01)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(server, "SETTLING_SECONDS", 2.0)  # longer than it takes to find an evolver at its new place
    monkeypatch.setattr(client, "POLL_INTERVAL_SECONDS", 0.05)


class Learner:
    """Numbers in place of networks, and what became of them."""

    def __init__(self, value: float):
        self.now = {"w": np.full((4, 3), value, np.float32), "b": np.float32(value)}
        self.taken: list[str] = []
        self.numbers: dict[str, float] = {}

    def change(self, numbers):
        self.numbers = {**self.numbers, **numbers}

    def networks(self):
        return self.now

    def become(self, networks):
        self.now = {name: np.array(x) for name, x in networks.items()}
        self.taken.append("drawn")

    def begin_anew(self, number):
        self.now = {name: np.full_like(x, -number) for name, x in self.now.items()}
        self.taken.append("fresh")


class Lines:
    """Learners with the values 1, 2, 3 ..., each on a line."""

    def __init__(self, folder: Path, count: int):
        self.learners = [Learner(1.0 + i) for i in range(count)]
        codec, directory = evolver_codec(COLUMNS, {}), Records(folder / "net", "127.0.0.1")
        clients = (Client("evolver", codec, SAME, ClientId("learner", 1 + i), directory) for i in range(count))
        self.lines = list(map(EvolverClient, clients, self.learners))
        self.step = 0

    def turn(self) -> None:
        for line in self.lines:
            line.turn()

    def evaluate(self) -> None:
        self.step += 100
        for i, line in enumerate(self.lines):
            line.evaluated(self.step, float(i))

    def close(self) -> None:
        for line in self.lines:
            line.client.close()


class Served(InThread):
    """An evolver in a thread; what it does not save dies with it."""

    def __init__(self, folder: Path, rules: Rules = RULES, learners: int | None = None):
        super().__init__()
        self.evolution, self.store = Evolution(rules, Cem(CEM), 3), PopulationStore(folder)
        self.store.load(self.evolution)
        self.server = Server("evolver", evolver_codec(COLUMNS, {}), Records(folder / "net", "127.0.0.1"), SAME)
        self.service = EvolverServer(self.server, self.evolution, self.store, learners)
        self.server.arrived = self.service.arrived

    def turn(self) -> None:
        self.service.answer(self.server.receive(0.01))

    def close(self) -> None:
        self.server.close()


@pytest.fixture
def lines(tmp_path):
    made = Lines(tmp_path, 4)
    yield made
    made.close()


def generations(lines: Lines, served: Served, number: int) -> None:
    """Evaluates until so many generations were made and everybody has become what it shall be."""

    def settled() -> bool:
        members, idle = served.evolution.members, not served.service._donors
        same = all(members[line.client.me.uid].assigned == line.assigned for line in lines.lines)
        return idle and same and not any(line._unconfirmed for line in lines.lines)

    wait_for(lambda: len(served.evolution.members) == len(lines.lines), meanwhile=lines.turn)
    while served.evolution.generation < number:
        lines.evaluate()
        wait_for(settled, meanwhile=lines.turn)
        time.sleep(0.05)
    wait_for(settled, meanwhile=lines.turn)


@pytest.mark.slow
def test_the_worse_half_becomes_like_the_better_one(tmp_path, lines):
    with Served(tmp_path) as served:
        generations(lines, served, 1)
        assert [learner.taken for learner in lines.learners[2:]] == [[], []]
        for learner in lines.learners[:2]:
            assert set(learner.taken) == {"drawn"}
            assert abs(learner.now["w"] - 3.5).max() < 3.5 and abs(learner.now["w"].mean() - 3.5) < 1.0
        assert [line.client.connected for line in lines.lines] == [True] * 4
    text = (tmp_path / "lineage.csv").read_text().splitlines()
    assert text[0].startswith("generation,learner,assigned,what,parents,mean_return") and len(text) >= 5


@pytest.mark.slow
def test_an_evolver_that_dies_goes_on_and_nobody_is_changed_twice(tmp_path, lines):
    """It is taken away again and again, wherever it is; its learners go on telling what it has not noted."""
    for number in range(1, 7):
        with Served(tmp_path) as served:
            generations(lines, served, number)
            assert served.evolution.generation == number
        lines.evaluate()  # nobody hears it now
    with Served(tmp_path) as served:
        generations(lines, served, 7)
        for line, learner in zip(lines.lines, lines.learners):
            drawn = [d for d in served.evolution.lineage if d.learner == line.client.me.uid and d.what == "drawn"]
            assert len(learner.taken) == line.assigned == len(drawn)
            assert [d.assigned for d in drawn] == list(range(1, len(drawn) + 1))


@pytest.mark.slow
def test_a_decision_that_never_came_to_be_is_made_anew(tmp_path, lines, monkeypatch):
    """It is killed between the networks and the file that names them."""
    write = store.write_atomically
    with pytest.raises(KeyboardInterrupt), Served(tmp_path) as served:

        def dies(path: Path, text: str) -> None:
            if path.name == "state.json" and served.evolution.generation:
                raise KeyboardInterrupt
            write(path, text)

        monkeypatch.setattr(store, "write_atomically", dies)
        while served.failure is None:
            lines.evaluate()
            for _ in range(10):
                lines.turn()
                time.sleep(0.01)
    assert list((tmp_path / "evolver").glob("learner-*.npz")) and not any(x.taken for x in lines.learners)
    monkeypatch.setattr(store, "write_atomically", write)
    for learner in lines.learners:
        learner.now["w"] += 50.0  # it has trained on: what lies there is of another decision
    with Served(tmp_path) as served:
        assert served.evolution.generation == 0
        generations(lines, served, 1)
        (file,) = (tmp_path / "evolver").glob("generation.*.npz")
        with np.load(file) as saved:
            np.testing.assert_array_equal(saved["mean/w"], served.evolution.strategy.distribution[0]["w"])
        assert [bool(x.taken) for x in lines.learners] == [True, True, False, False]


def test_reports_that_come_together_are_saved_once_and_then_confirmed(tmp_path):
    evolution, folder = Evolution(RULES, Cem(CEM), 3), PopulationStore(tmp_path)
    evolution.join("learner-1")
    done, state = [], tmp_path / "evolver" / "state.json"

    def say(peer, kind, **told):
        saved = json.loads(state.read_text())["members"]["learner-1"]["step"]
        done.append((kind, told["step"], saved))

    folder.save, save = lambda *told: (done.append("saved"), save(*told)), folder.save
    peer = SimpleNamespace(role="learner", number=1)
    service = EvolverServer(SimpleNamespace(peers={}, say=say), evolution, folder)
    service.answer([(peer, Message("evaluated", {"assigned": 0, "step": s, "value": 1.0}, {})) for s in (5, 6, 7)])
    assert done == ["saved", ("noted", 5, 7), ("noted", 6, 7), ("noted", 7, 7)]


def test_who_reports_an_older_number_is_told_again_and_measured_again(tmp_path):
    evolution, folder = Evolution(RULES, Cem(CEM), 3), PopulationStore(tmp_path)
    evolution.join("learner-1")
    evolution.diverged("learner-1")
    evolution.evaluated("learner-1", 1, 5000, 99.0)
    told = []
    served = SimpleNamespace(say=lambda peer, kind, **values: told.append((kind, values)))
    peer = SimpleNamespace(role="learner", number=1)
    EvolverServer(served, evolution, folder)._tell(peer, Message("what_am_i?", {"assigned": 0}, {}))
    assert told == [("begin_anew", {"assigned": 1})]
    member = evolution.members["learner-1"]
    assert (member.step, member.scores, member.recent) == (-1, [], []), "what came after the change is lost"


def test_after_a_resume_a_generation_waits_for_the_known_learners(monkeypatch):
    """For a minute: one that is gone for good holds up nobody longer."""
    members = {f"learner-{n}": SimpleNamespace(ended=n == 3) for n in (1, 2, 3)}
    peers = {1: SimpleNamespace(number=1)}
    evolution, folder = SimpleNamespace(members=members), SimpleNamespace()
    service = server.EvolverServer(SimpleNamespace(peers=peers), evolution, folder)

    def settled_after(seconds: float) -> bool:
        service._began_at_seconds = time.monotonic() - seconds
        return service._settled()

    assert not settled_after(server.RETURN_SECONDS - 1) and settled_after(server.RETURN_SECONDS + 1)
    peers[2] = SimpleNamespace(number=2)
    assert not settled_after(server.RETURN_SECONDS - 1), "one that had ended may go on to more steps"
    peers[3] = SimpleNamespace(number=3, role="learner")
    evolution.join, folder.save = (lambda name: None), lambda *told: None
    service.arrived(peers[3])
    assert not settled_after(server.SETTLING_SECONDS - 1) and settled_after(server.SETTLING_SECONDS + 1)
    for learners, at_once in ((3, True), (4, False)):
        service._learners = learners
        assert settled_after(0) == at_once, "where all have come, nobody else is waited for"


def test_a_learner_whose_evolver_is_away_keeps_the_newest_reports(lines):
    line = lines.lines[0]
    for step in range(3 * client.MAX_UNCONFIRMED):
        line.evaluated(step, 1.0)
    kept = range(2 * client.MAX_UNCONFIRMED, 3 * client.MAX_UNCONFIRMED)
    assert list(line._unconfirmed) == list(kept)


def test_a_run_that_ends_reports_its_last_measurement():
    said = []
    line = SimpleNamespace(evaluated=lambda *told: said.append(told), finish=lambda: said.append("over"))
    evaluator = SimpleNamespace(latest=None, scores=SimpleNamespace(returns=[]))
    source = EvolvingSource(None, line, EvaluationReturns(evaluator), SimpleNamespace(), lambda: None, time.sleep)
    evaluator.latest = 3000, 5.0
    source.finish()
    assert said == [(3000, 5.0), "over"]


def test_what_comes_twice_is_taken_once(lines):
    line, learner = lines.lines[0], lines.learners[0]
    for _ in range(2):
        line._handle(Message("become", {"assigned": 1}, {"w": np.zeros((4, 3), np.float32), "b": np.float32(0)}))
    assert learner.taken == ["drawn"] and line.assigned == 1


@pytest.mark.slow
def test_a_learner_taken_back_to_its_checkpoint_is_told_again(tmp_path, lines):
    with Served(tmp_path) as served:
        generations(lines, served, 1)
        line, learner = lines.lines[0], lines.learners[0]
        shall = learner.now
        line.restore({}, {"assigned": 0, "numbers": {"sac.gamma": 0.5}})
        assert learner.numbers == {}, "what varies no more"
        learner.now = Learner(9.0).now
        wait_for(lambda: line.assigned > 0, meanwhile=lines.turn)
        np.testing.assert_array_equal(learner.now["w"], shall["w"])


@pytest.mark.slow
def test_numbers_that_are_not_finite_stay_with_their_learner(tmp_path, lines):
    with Served(tmp_path) as served:
        wait_for(lambda: len(served.evolution.members) == 4, meanwhile=lines.turn)
        lines.lines[0].evaluated(50, float("nan"))
        wait_for(lambda: lines.learners[0].taken == ["fresh"], meanwhile=lines.turn)
        lines.learners[3].now["w"][0, 0] = np.inf  # the best one
        generations(lines, served, 1)
        assert lines.learners[3].taken, "left out of the elites, it became something else"
        assert all(np.isfinite(x.now["w"]).all() for x in lines.learners)
        assert {d.parents for d in served.evolution.lineage if d.what == "drawn"} == {"learner-3"}


class Diverging:
    """RolloutStep of a learner that comes to numbers that are not finite as what it is."""

    def __init__(self, learner: Learner, line: EvolverClient, times: int):
        self.learner, self.times, self.published, self.error = learner, times, 0, None
        evaluator = SimpleNamespace(latest=None, scores=SimpleNamespace(returns=[1.0]))
        self.evaluator, self.taken_back = evaluator, 0
        fitness, progress = EvaluationReturns(evaluator), SimpleNamespace(steps=700)
        self.whole = EvolvingSource(self, line, fitness, progress, self.publish, time.sleep)

    def advance(self) -> bool:
        if len(self.learner.taken) < self.times:
            self.error = diverged(10, "the TD error")
            raise self.error
        return False

    def publish(self) -> None:
        self.published += 1

    def turn(self) -> None:
        """As in a training."""
        try:
            self.whole.advance()
        except Diverged as error:
            self.taken_back += not self.whole.on_divergence(error)


@pytest.mark.slow
def test_a_learner_that_diverges_is_made_anew_by_the_evolver(tmp_path, lines):
    """Also after an evaluation of the same step; the second time everything of it is new."""
    one, line = Diverging(lines.learners[3], lines.lines[3], times=2), lines.lines[3]
    one.turn()
    one.evaluator.latest = 700, 9.0
    one.turn()
    assert line._diverged_at_step == 700 and not line._unconfirmed, (
        "what is not finite must not be hidden by an evaluation"
    )
    with Served(tmp_path) as served:
        wait_for(lambda: one.published == 2, meanwhile=lambda: (lines.turn(), one.turn()))
        assert lines.learners[3].taken == ["fresh", "fresh"] and one.taken_back == 0
        assert one.evaluator.scores.returns == []
        generations(lines, served, 1)
        mine = [line for line in served.evolution.lineage if line.learner == "learner-4"]
        assert [line.what for line in mine] == ["fresh", "fresh", "kept"] and mine[-1].mean_return == 3.0
        one.evaluator.latest = 10_000, 9.0
        one.turn()
        one.times = 4
        wait_for(lambda: one.published == 4, meanwhile=lambda: (lines.turn(), one.turn()))
        assert lines.learners[3].taken[2:] == ["drawn", "fresh"]


@pytest.mark.slow
def test_a_learner_that_diverges_while_nobody_answers_helps_itself(tmp_path, lines, monkeypatch, caplog):
    """It waits quietly, goes back to its checkpoint, and is told what it shall be when the evolver is there again."""
    monkeypatch.setattr(evolving_source, "EVOLVER_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(evolving_source, "PUMP_SECONDS", 0.01)
    with Served(tmp_path) as served:
        generations(lines, served, 1)
    shall = [x.assigned for x in lines.lines].index(1)
    one = Diverging(lines.learners[shall], lines.lines[shall], times=99)
    wait_for(lambda: one.taken_back == 1, meanwhile=one.turn)
    one.times = 0
    one.turn()
    assert sum("diverged" in record.message for record in caplog.records) == 1
    assert lines.lines[shall].assigned == 0
    lines.learners[shall].now["w"][:] = 77
    with Served(tmp_path):
        wait_for(lambda: lines.lines[shall].assigned == 1, meanwhile=lambda: (lines.turn(), one.turn()))
    assert lines.learners[shall].now["w"][0, 0] != 77


@pytest.mark.slow
def test_who_diverges_while_it_is_asked_for_its_networks_is_no_parent(tmp_path, lines):
    with Served(tmp_path) as served:
        best = lines.lines[3]
        wait_for(lambda: len(served.evolution.members) == 4, meanwhile=lines.turn)
        for _ in range(2):
            lines.evaluate()
            wait_for(
                lambda: not any(line._unconfirmed for line in lines.lines), meanwhile=lambda: turn_three(lines, served)
            )
        wait_for(lambda: served.service._donors, meanwhile=lambda: turn_three(lines, served))
        best.diverged(800)
        wait_for(lambda: any(line.what == "drawn" for line in served.evolution.lineage), meanwhile=lines.turn)
        assert {line.parents for line in served.evolution.lineage if line.what == "drawn"} == {"learner-3"}


@pytest.mark.slow
def test_a_disk_that_refuses_is_waited_for(tmp_path, lines, monkeypatch):
    """Nobody is told what is not saved; when there is room again everything goes on."""
    monkeypatch.setattr(store, "RETRY_SECONDS", 0.05)
    with Served(tmp_path) as served:
        generations(lines, served, 1)
        before = [line.assigned for line in lines.lines]
        with small_files(100):
            for _ in range(20):
                lines.evaluate()
                lines.turn()
                time.sleep(0.05)
            assert [line.assigned for line in lines.lines] == before
            assert json.loads((tmp_path / "evolver" / "state.json").read_text())["generation"] == 1
        generations(lines, served, 2)
        assert json.loads((tmp_path / "evolver" / "state.json").read_text())["generation"] == 2
    assert not list((tmp_path / "evolver").glob("*.new"))


def test_a_disk_that_refuses_to_the_end_is_told_in_words(tmp_path):
    folder = PopulationStore(tmp_path)
    folder.give_up = lambda: True
    with small_files(10), pytest.raises(UserError, match="the population cannot be saved"):
        folder.save(Evolution(RULES, Cem(CEM), 3), {})


@pytest.mark.slow
def test_an_elite_that_is_gone_is_not_waited_for_for_ever(tmp_path, lines, monkeypatch):
    monkeypatch.setattr(server, "NETWORKS_TIMEOUT_SECONDS", 0.5)
    with Served(tmp_path) as served:
        lines.learners[3].networks = None  # it would raise if it were asked
        wait_for(lambda: len(served.evolution.members) == 4, meanwhile=lines.turn)
        for _ in range(2):
            lines.evaluate()
            wait_for(
                lambda: not any(line._unconfirmed for line in lines.lines), meanwhile=lambda: turn_three(lines, served)
            )
        wait_for(lambda: len(served.evolution.lineage) == 3, meanwhile=lambda: [x.turn() for x in lines.lines[:3]])
        assert served.evolution.generation == 1
        assert {d.learner: d.what for d in served.evolution.lineage} == {
            "learner-1": "drawn", "learner-2": "drawn", "learner-3": "kept"
        }, "who did not answer stays as it is"  # fmt: skip


def turn_three(lines: Lines, served: Served) -> None:
    """All as long as nobody is asked for networks."""
    for line in lines.lines[: 3 if served.service._donors else 4]:
        line.turn()
    if served.service._donors:
        lines.lines[3]._unconfirmed.clear()


@pytest.mark.slow
def test_learners_of_a_population_that_was_removed_begin_another(tmp_path, lines):
    for line in lines.lines:
        line.restore({}, {"assigned": 5})
    with Served(tmp_path) as served:
        generations(lines, served, 1)
        assert [line.assigned for line in lines.lines] == [6, 6, 5, 5]


def test_it_is_over_when_all_have_ended(tmp_path, lines):
    with Served(tmp_path) as served:
        wait_for(lambda: len(served.evolution.members) == 4, meanwhile=lines.turn)
        for line in lines.lines:
            assert not served.service.ended
            line.finish()
        wait_for(lambda: served.service.ended)
    with Served(tmp_path) as served:
        wait_for(lambda: lines.lines[0].client.connected, meanwhile=lines.turn)
        assert not served.service.ended, "the same command goes on"


@pytest.mark.parametrize("learners", [None, 4, 5])
def test_it_is_not_over_before_all_have_come(tmp_path, monkeypatch, lines, learners):
    """At first two of four wait for room; later all had ended, and two are slow to go on."""
    first, late = lines.lines[:2], lines.lines[2:]

    def turn() -> None:
        for line in first:
            line.turn()

    def end(some) -> None:
        for line in some:
            line.finish()
        names = {line.client.me.uid for line in some}
        wait_for(lambda: all(served.evolution.members[name].ended for name in names))

    with Served(tmp_path, learners=learners) as served:
        wait_for(lambda: len(served.evolution.members) == 2, meanwhile=turn)
        end(first)
        assert served.service.ended == (learners is None)
        wait_for(lambda: len(served.evolution.members) == 4, meanwhile=lambda: [line.turn() for line in late])
        end(late)
        assert served.service.ended == (learners != 5)
    with Served(tmp_path, learners=learners) as served:
        wait_for(lambda: len(served.server.peers) == 2, meanwhile=turn)
        end(first)
        assert not served.service.ended and not served.service._settled()
        with monkeypatch.context() as later:
            later.setattr(server, "RETURN_SECONDS", 0.0)
            assert served.service.ended == (learners is None), "where nobody knows how many, none is awaited for ever"
        wait_for(lambda: len(served.server.peers) == 4, meanwhile=lambda: [line.turn() for line in late])
        end(late)
        assert served.service.ended == (learners != 5)


def test_a_damaged_population_is_told_in_words(tmp_path):
    folder = PopulationStore(tmp_path)
    for text in ("{", '{"seed": 1}', '{"seed": 1, "generation": 2, "elapsed": 0, "members": {}}'):
        (tmp_path / "evolver" / "state.json").write_text(text)
        with pytest.raises(UserError, match="remove that folder to begin with a new one"):
            folder.load(Evolution(RULES, Cem(CEM), 3))
    for text in ("{", '{"shared": {}, "told": {}}', '{"shared": {"networks": {"w": [[2], "what"]}}, "told": {}}'):
        (tmp_path / "evolver" / "description.json").write_text(text)
        with pytest.raises(UserError, match="remove that folder to begin with a new one"):
            folder.description()


@pytest.mark.slow
def test_networks_of_what_a_learner_is_no_more_make_no_generation(tmp_path, monkeypatch, lines):
    monkeypatch.setattr(server, "SETTLING_SECONDS", 1e9)
    with Served(tmp_path) as served:
        best = lines.lines[3].client
        wait_for(lambda: len(served.evolution.members) == 4, meanwhile=lines.turn)
        for _ in range(2):
            lines.evaluate()
            wait_for(lambda: not any(line._unconfirmed for line in lines.lines), meanwhile=lines.turn)
        monkeypatch.setattr(server, "SETTLING_SECONDS", 0.0)
        wait_for(lambda: "learner-4" in served.service._donors, meanwhile=best.pump)  # asked, and not answered
        for told in ({"generation": 1, "assigned": 5}, {"generation": 2, "assigned": 0}):
            best.send(best.codec.encode("networks", told, Learner(9.0).networks()))
        best.say("evaluated", assigned=0, step=9999, value=3.0)
        wait_for(lambda: served.evolution.members["learner-4"].step == 9999, meanwhile=best.pump)
        assert served.service._donors["learner-4"] is None


def test_only_learners_are_answered(tmp_path, lines):
    with Served(tmp_path) as served:
        directory = Records(tmp_path / "net", "127.0.0.1")
        stranger = Client("evolver", evolver_codec(COLUMNS, {}), SAME, ClientId("actor", 9), directory)
        wait_for(lambda: stranger.connected, meanwhile=lambda: stranger.pump(0.01))
        stranger.say("evaluated", assigned=0, step=1, value=1.0)
        stranger.say("what_am_i?", assigned=0)
        wait_for(lambda: len(served.evolution.members) == 4, meanwhile=lines.turn)
        assert "learner-9" not in served.evolution.members and served.failure is None
        stranger.close()
