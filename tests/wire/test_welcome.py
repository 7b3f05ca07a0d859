"""A server welcomes or refuses clients, and both notice when the other end is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import msgpack
import pytest
import zmq

from sac.errors import UserError
from sac.types import Sensor, Spec
from sac.wire import client as client_module
from sac.wire import discovery as directory_module
from sac.wire import server as server_module
from sac.wire.client import Client
from sac.wire.codec import VERSION
from sac.wire.discovery import Fixed, Records
from sac.wire.handshake import Description, described_spec, spec_of
from sac.wire.keys import Keys, check_bind
from sac.wire.messages import control
from sac.wire.peer import PING_SECONDS, ClientId, counters_of
from sac.wire.server import Server
from tests.wire.wire_kit import ROOT, SPEC, WORLD, Process, Served, client, inserting, over_tcp, tagged, wait_for


def come(line: Client, seconds: float = 10.0) -> Client:
    wait_for(lambda: line.connected, seconds, lambda: line.pump(0.01))
    return line


def refusal(line: Client) -> str:
    with pytest.raises(UserError) as caught:
        wait_for(lambda: False, 10, lambda: line.pump(0.01))
    assert not line.connected
    line.close()
    return str(caught.value)


# --- F10


WIDER = replace(SPEC, sensors=(Sensor("tag", (3,)), SPEC.sensors[1]))
BYTES = replace(SPEC, sensors=(Sensor("tag", (2,), "uint8"), SPEC.sensors[1]))
BLIND = replace(SPEC, sensors=SPEC.sensors[:1])


@pytest.mark.parametrize(
    ("world", "words"),
    [
        (replace(WORLD, spec=WIDER), ["observation tag: [[3], 'float32'] | [[2], 'float32']"]),
        (replace(WORLD, spec=BYTES), ["observation tag: [[2], 'uint8'] | [[2], 'float32']"]),
        (replace(WORLD, spec=BLIND), ["observation eye: nothing | [[4, 4, 1], 'uint8']", "observations: ['tag']"]),
        (replace(WORLD, spec=replace(SPEC, branches=(5,))), ["discrete branches: [5] | [2, 3]"]),
        (replace(WORLD, steps=3, capacity=8), ["n_step: 3 | 1", "capacity: 8 | 65536"]),
    ],
)
def test_who_differs_is_refused_with_what_differs(tmp_path, world, words):
    with Served(WORLD, tmp_path) as served:
        said = refusal(client(served.directory, world=world))
        assert f"the replay at {served.directory.find('replay')} refuses actor-1" in said
        assert world.description.hash in said and WORLD.description.hash in said
        assert all(word in said for word in words), said
        assert said.count(" | ") == len(words) and served.server.bad == 1
        assert not served.server.peers
        come(client(served.directory)).close()


def test_an_old_version_is_refused(tmp_path, monkeypatch):
    with Served(WORLD, tmp_path) as served:
        monkeypatch.setattr(client_module, "VERSION", 0)
        assert f"protocol version 0, the replay speaks version {VERSION}" in refusal(client(served.directory))
        assert "life 0: it counts from 1" in refusal(client(served.directory, incarnation=0))


def test_an_old_version_understands_its_refusal(tmp_path):
    """These are the bytes that version 3 sends, and those that it can read."""
    hello = {"kind": "hello", "version": 3, "role": "actor", "uid": "actor-1", "life": 5, "number": 1, "session": 1}
    with Served(WORLD, tmp_path) as served, zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(served.directory.find("replay"))
        socket.send_multipart([b"SAC1", msgpack.packb({**hello, "hash": "0"})])
        assert socket.poll(10_000)
        word, header, text = socket.recv_multipart()
        assert (word, msgpack.unpackb(header)) == (b"SAC1", {"kind": "refused", "n": len(text)})
        assert text == f"protocol version 3, the replay speaks version {VERSION}".encode()


def test_a_spec_survives_its_description():
    shared = Description.of(WORLD.description.text()).shared
    assert spec_of(shared) == SPEC
    assert not WORLD.description.differences(Description.of(WORLD.description.text()))


def test_bounds_are_described_where_they_are_not_the_usual_ones():
    usual = (Sensor("eye", (4, 4, 1), "uint8"), Sensor("v", (2,)))
    described = described_spec(Spec(usual, 1))
    assert (described["observation eye"], described["observation v"]) == ([[4, 4, 1], "uint8"], [[2], "float32"]), (
        "as older versions wrote it"
    )
    own = (Sensor("eye", (4, 4, 1), "uint8", (0.0, 1.0)), Sensor("board", (2,), "uint8", (0.0, (3.0, 4.0))))
    here, there = (Description(described_spec(Spec(sensors, 1)), {}) for sensors in (own, (usual[0], own[1])))
    assert spec_of(Description.of(here.text()).shared) == Spec(own, 1)
    (difference,) = here.differences(there)
    one, other = (Description({"networks": {"w": [2], "b": b}}, {}) for b in ([], [1]))
    assert one.differences(other) == ["networks b: [] | [1]"], "of many the one that differs"
    assert difference.startswith("observation eye: [[4, 4, 1], 'uint8', [0.0, 1.0]] | [[4, 4, 1], 'uint8']")
    assert here.hash == Description.of(here.text()).hash != there.hash


@pytest.mark.parametrize("text", ["", "{}", "7", "null", '{"shared": 1, "told": {}}', "[" * 100_000, '{"a":' * 50_000])
def test_what_is_no_description(text):
    with pytest.raises(ValueError):
        Description.of(text)


@pytest.mark.parametrize("text", ["x", "7", "[1]", "[" * 100_000, '{"a": "b"}', '{"a": [1]}', '{"a": NaN, "b": 1e999}'])
def test_counters_are_finite_numbers(text):
    assert counters_of(text) == {}
    assert counters_of('{"a": 1, "b": "x", "c": ' + "9" * 400 + "}") == {"a": 1.0}


def test_without_a_learner_actors_wait_and_then_it_is_asked_who_it_is(tmp_path):
    directory, described = Records(tmp_path, "127.0.0.1"), []
    server = Server("replay", control(), directory, None, described=described.append)
    lines = [Client("replay", control(), WORLD.description, ClientId(role), directory) for role in ("actor", "learner")]
    try:
        for _ in range(40):
            lines[0].pump(0.01)
            server.receive(0.01)
        assert not lines[0].connected and not described
        for line in reversed(lines):
            wait_for(lambda: line.connected, 10, lambda: (line.pump(0.01), server.receive(0.01)))  # noqa: B023
        assert [d.hash for d in described] == [WORLD.description.hash]
        assert lines[0].told == {"state": 7}
    finally:
        for line in lines:
            line.close()
        server.close()


# --- who is there


def test_counters_go_both_ways(tmp_path):
    with Served(WORLD, tmp_path) as served:
        line = client(served.directory)
        line.counters = {"version": 3}
        wait_for(lambda: "replay/rows" in line.theirs, meanwhile=lambda: line.pump(0.01))
        (peer,) = served.server.peers.values()
        assert peer.counters == {"version": 3.0} and (peer.uid, peer.number) == ("actor-1", 1)
        line.close()
        wait_for(lambda: not served.server.peers)


def test_who_is_silent_is_forgotten_and_welcome_again(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "CLIENT_GONE_SECONDS", 0.5)
    with Served(WORLD, tmp_path) as served, inserting(served.directory) as inserter:
        inserter.add(tagged(1, 0, 5))
        assert inserter.drain(10) and served.server.peers
        wait_for(lambda: not served.server.peers)
        assert not served.replay._writer.open
        inserter.add(tagged(1, 5, 5))
        assert inserter.drain(10) and inserter.client.session == 2
        assert served.replay.transitions == 10


def test_a_new_life_takes_the_old_one_s_place(tmp_path):
    with Served(WORLD, tmp_path) as served:
        old, new = come(client(served.directory)), come(client(served.directory))
        assert [peer.incarnation for peer in served.server.peers.values()] == [new.me.incarnation]
        old.close()
        new.close()


def test_who_was_replaced_and_still_lives_is_refused_and_the_other_stays(tmp_path):
    with Served(WORLD, tmp_path) as served:
        old, new = come(client(served.directory)), come(client(served.directory))
        assert (
            "another actor-1 has come since and took its place: end one of the two (actors differ in net.number"
            in refusal(old)
        )
        until = time.monotonic() + 2 * PING_SECONDS
        wait_for(lambda: time.monotonic() > until, meanwhile=lambda: new.pump(0.01))
        assert new.connected and new.session == 1
        come(client(served.directory, number=2)).close()
        new.close()


def test_a_silent_server_is_noticed_and_looked_for(tmp_path, monkeypatch):
    """The client notices within SERVER_LOST_SECONDS and a ping, and then sends nothing."""
    monkeypatch.setattr(client_module, "SERVER_LOST_SECONDS", 1.5)
    with Served(WORLD, tmp_path) as served:
        line = come(client(served.directory))
        turn, served.turn = served.turn, lambda: None
        wait_for(lambda: not line.connected, 3, lambda: line.pump(0.01))
        assert not line.say("bye")
        served.turn = turn
        come(line, 3)
        assert line.session == 2
        line.close()


def test_a_moved_server_is_found_at_once(tmp_path, way):
    with Served(WORLD, tmp_path / "a", Records(tmp_path, "127.0.0.1")) as served:
        line = come(client(served.directory))
    with Served(WORLD, tmp_path / "b", Records(tmp_path, "127.0.0.1")) as served:
        wait_for(lambda: line.session == 2, 3.0, lambda: line.pump(0.01))
        assert line.address == served.directory.find("replay") and line.address.startswith(way)
    line.close()


def test_a_neighbour_needs_no_tcp(tmp_path, monkeypatch):
    """The server listens at both addresses; a client on another machine or network reads the same record."""
    if directory_module._network() is None:
        pytest.skip("no abstract sockets")
    with Served(WORLD, tmp_path) as served:
        near, far = served.directory.find("replay"), over_tcp(served.directory)
        assert near.startswith(f"ipc://@sac-replay-{os.getpid()}-") and far == f"tcp://127.0.0.1:{served.server.port}"
        one = come(client(served.directory))
        monkeypatch.setattr(directory_module, "_network", lambda: "another")
        assert served.directory.find("replay") == far
        two = come(client(served.directory, number=2))
        assert (one.address, two.address) == (near, far) and len(served.server.peers) == 2
        one.close()
        two.close()


def test_a_near_address_that_is_not_for_us_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "SERVER_LOST_SECONDS", 0.5)
    with Served(WORLD, tmp_path) as served:
        gone = served.directory.record("replay") | {"near": "ipc://@sac-nobody"}
        served.directory.write("replay", gone)
        line = come(client(served.directory))
        assert line.address == over_tcp(served.directory)
        line.close()


@pytest.mark.parametrize("looks", [3, 4])
def test_a_near_server_that_lets_wait_stays_near(tmp_path, monkeypatch, looks):
    """At first there is no server, then one that does not answer yet."""
    monkeypatch.setattr(client_module, "SERVER_LOST_SECONDS", 0.3)
    monkeypatch.setattr(client_module, "RETRY_SECONDS", 0.1)
    line = client(Records(tmp_path / "net", ""))
    wait = time.monotonic() + 0.2 * looks
    wait_for(lambda: time.monotonic() > wait, meanwhile=lambda: line.pump(0.01))
    served = Served(WORLD, tmp_path)
    wait = time.monotonic() + 0.4 * looks
    wait_for(lambda: time.monotonic() > wait, meanwhile=lambda: line.pump(0.01))
    with served:
        assert not line.connected
        come(line)
        assert line.address == served.directory.find("replay")
        line.close()


def test_a_server_that_cannot_listen_near_has_tcp(tmp_path, monkeypatch):
    monkeypatch.setattr(Records, "near_name", lambda self, role: f"ipc://{tmp_path}/no/such/folder")
    with Served(WORLD, tmp_path) as served:
        assert served.directory.find("replay") == over_tcp(served.directory)
        come(client(served.directory)).close()


def test_a_system_without_abstract_sockets_has_tcp_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(directory_module, "_network", lambda: None)
    with Served(WORLD, tmp_path) as served:
        assert served.directory.find("replay") == over_tcp(served.directory)
        come(client(served.directory)).close()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"x"', '{"near": "ipc://@x"}', '{"network": null}'])
def test_a_record_that_is_none_is_no_address(tmp_path, text):
    (tmp_path / "replay.json").write_text(text)
    assert Records(tmp_path, "").find("replay") is None


def test_the_end_reaches_everybody(tmp_path):
    with Served(WORLD, tmp_path) as served:
        lines = [come(client(served.directory, number=n)) for n in (1, 2)]
        lines[0].say("end")  # an actor cannot end it
        teacher = come(client(served.directory, role="learner"))
        teacher.pump(0.1)
        assert not served.service.ended
        teacher.say("end")
        wait_for(lambda: served.service.ended)
        for line in (*lines, teacher):
            wait_for(lambda: line.ended, meanwhile=lambda: line.pump(0.01))  # noqa: B023
            line.close()


# --- where, and with which keys


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "*", "eth0", "example.org"])
def test_others_can_reach_it_only_with_keys(tmp_path, host):
    with pytest.raises(UserError, match=r"net.bind=.* needs keys: make them with `python -m sac.wire.keys"):
        Server("replay", control(), Records(tmp_path, host), None, host=host)
    check_bind(host, Keys(tmp_path))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "::1", "localhost"])
def test_this_machine_alone_needs_no_keys(host):
    check_bind(host, None)


def test_a_port_that_is_taken_is_said(tmp_path):
    with Served(WORLD, tmp_path) as served:
        directory = Fixed({"replay": ("127.0.0.1", served.server.port)})
        with pytest.raises(UserError, match=r"replay cannot listen at 127.0.0.1:\d+: Address .*net.replay_port"):
            Server("replay", control(), directory, None)


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> dict[str, Keys | None]:
    """The keys are ours, those of another cell, or half of each."""
    folder = tmp_path_factory.mktemp("keys")
    found = {name: Keys.make(folder / name) for name in ("ours", "others")}
    (folder / "mixed").mkdir(0o700)
    for whose, name in (("ours", "server.key"), ("others", "client.key_secret")):
        shutil.copy(folder / whose / name, folder / "mixed")
    return {**found, "mixed": Keys(folder / "mixed"), "none": None}


def test_with_the_same_keys_all_is_as_without(tmp_path, way, keys):
    with Served(WORLD, tmp_path, keys=keys["ours"]) as served, inserting(served.directory, keys=keys["ours"]) as one:
        one.add(tagged(1, 0, 300))
        assert one.drain(10) and served.replay.total == 300


@pytest.mark.parametrize(
    ("server", "line"), [("ours", "others"), ("ours", "mixed"), ("ours", "none"), ("none", "ours")]
)
def test_other_keys_are_refused_in_words(tmp_path, way, keys, server, line):
    with Served(WORLD, tmp_path, keys=keys[server]) as served:
        said = refusal(client(served.directory, keys=keys[line]))
        assert f"the replay at {served.directory.find('replay')} refuses our keys" in said
        assert (f"net.keys={keys[line].folder}" if keys[line] else "net.keys=null") in said
        assert not served.server.peers


def test_keys_are_made_once_and_kept_from_others(tmp_path):
    words = [sys.executable, "-m", "sac.wire.keys", str(tmp_path / "k")]
    runs = [subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60) for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 1] and "net.keys=" in runs[0].stdout
    assert "holds keys already" in runs[1].stderr and "Traceback" not in runs[1].stderr
    secrets = list((tmp_path / "k").glob("*.key_secret"))
    assert len(secrets) == 2 and all(secret.stat().st_mode & 0o077 == 0 for secret in secrets)
    with pytest.raises(UserError, match=r"net.keys=.*server.key_secret cannot be read .*python -m sac.wire.keys"):
        Server("replay", control(), Records(tmp_path, ""), None, keys=Keys(tmp_path / "nothing"))


def test_who_seldom_looks_up_finds_a_server_that_has_moved(tmp_path):
    """The client calls `pump` less often than it should ping, as in long turns of a learner; it keeps a live server."""
    directory = Records(tmp_path / "net", "127.0.0.1")
    with Process(tmp_path) as process:
        line = client(directory, role="learner")
        wait_for(lambda: line.connected, meanwhile=line.pump)
        for _ in range(4):
            time.sleep(1.5 * PING_SECONDS)
            line.pump()
        assert line.connected and line.session == 1, "its answers wait to be read"
        before = line.address
        process.kill()
    with Process(tmp_path):
        for _ in range(6):
            time.sleep(1.5 * PING_SECONDS)
            line.pump(0.05)
            if line.connected and line.address != before:
                break
        assert line.connected and line.address != before
    line.close()
