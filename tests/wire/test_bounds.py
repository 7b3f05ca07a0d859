"""Messages of one peer, however many, take a bounded amount of memory and do not disturb other peers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zmq

from sac.distributed import insert_client as inserting_module
from sac.distributed import policy_server, replay_server
from sac.distributed.policy_server import PolicyServer
from sac.distributed.replay_client import ReplayClient
from sac.errors import UserError
from sac.replay import writer
from sac.types import Sensor, Spec
from sac.wire import client as client_module
from sac.wire import codec as codec_module
from sac.wire import peer as peer_module
from sac.wire import server as server_module
from sac.wire.codec import TEXT, BadMessage, Codec, MessageKind
from sac.wire.discovery import Records
from sac.wire.frames import receive_frames
from sac.wire.peer import counters_of
from tests.wire.malformed import hello, insert, raw
from tests.wire.wire_kit import WORLD, Served, Stranger, World, client, inserting, tagged, tags, wait_for

# --- a whole message


@pytest.fixture
def small(monkeypatch) -> int:
    """Bounds whole messages to 5,000 bytes."""
    for module in (codec_module, client_module, server_module):
        monkeypatch.setattr(module, "MAX_MESSAGE_BYTES", 5000)
    return 5000


class Given:
    """A socket with one message, which counts the frames that are read."""

    def __init__(self, *sizes: int):
        self._frames, self.read = [bytes(size) for size in sizes], 0

    def getsockopt(self, option: int) -> int:
        return zmq.POLLIN if option == zmq.EVENTS else self.read < len(self._frames)

    def recv(self, flags: int, copy: bool) -> bytes:
        self.read += 1
        return self._frames[self.read - 1]


@pytest.mark.parametrize(
    ("sizes", "envelope", "kept"),
    [
        ([1, 1, 1], 0, 3),
        ([1, 1, 1, 1], 0, 4),
        ([1] * 1000, 0, 4),
        ([16] + [1] * 1000, 1, 5),
        ([4, 6, 0], 0, 3),
        ([4, 7, 0, 0], 0, 2),
        ([900, 4, 6], 1, 3),
        ([900, 4, 7, 1], 1, 3),
        ([11, 1], 0, 1),
    ],
)
def test_of_a_message_that_is_too_large_no_more_is_kept_than_shows_it(sizes, envelope, kept):
    """At most 3 frames of 10 bytes are kept. All are read, so that the next message is read from its beginning."""
    given = Given(*sizes)
    frames = receive_frames(given, 0.0, True, 3, 10, envelope)
    assert [len(frame) for frame in frames] == sizes[:kept] and given.read == len(sizes)


def test_the_frames_of_a_message_are_counted_before_they_are_read():
    codec = Codec(
        [MessageKind("text", {}, ("n",), TEXT), MessageKind("three", {}, (), dict.fromkeys("abc", ((2,), "int64")))]
    )
    assert codec.max_frames == 5
    codec.decode(codec.encode("three", None, {name: np.zeros(2, np.int64) for name in "abc"}))
    with pytest.raises(BadMessage, match="6 parts of 6 bytes, at most 5"):
        codec.decode([b"x"] * 6)


def test_the_bytes_of_a_message_are_counted_before_they_are_read(small):
    with pytest.raises(BadMessage, match="2 parts of 5001 bytes, at most"):
        WORLD.codec.decode([bytes(2500), bytes(2501)])


@pytest.mark.parametrize("spoil", [lambda good: good[:1] + [b""] * 100_000, lambda good: good + [bytes(3000)] * 2])
def test_a_message_with_too_much_of_anything_costs_its_sender_the_message(tmp_path, small, spoil):
    """One message has too many frames; the other has few, each small enough, but with too many bytes in all."""
    with Served(WORLD, tmp_path) as served, Stranger(served) as stranger:
        assert stranger.say(hello()).hears() == "welcome"
        stranger.say(spoil(insert()))
        wait_for(lambda: served.server.bad == 1)
        stranger.say(raw("moments?"))
        assert stranger.hears() == "moments", "it is listened to as before"
        with inserting(served.directory) as one:
            one.add(tagged(1, 0, 20))
            assert one.drain(10) and tags(served.replay, 1) == list(range(20))


def test_a_client_bounds_what_its_server_says(tmp_path, small):
    with Served(WORLD, tmp_path) as served:
        line = client(served.directory)
        wait_for(lambda: line.connected, meanwhile=lambda: line.pump(0.01))
        served.server.send(next(iter(served.server.peers.values())), [b"SAC1"] + [bytes(3000)] * 3)
        wait_for(lambda: line.bad == 1, meanwhile=lambda: line.pump(0.01))
        wait_for(lambda: "transitions" in line.theirs, meanwhile=lambda: line.pump(0.01))
        line.close()


def test_what_the_other_end_would_not_take_is_not_sent(monkeypatch):
    """A frame above the bound would break the connection again and again, without any explanation."""
    kind = MessageKind("pictures", {}, ("r",), {"eye": ((10,), "uint8"), "ear": ((4,), "uint8")})
    monkeypatch.setattr(codec_module, "MAX_FRAME_BYTES", 20_000)
    monkeypatch.setattr(codec_module, "MAX_MESSAGE_BYTES", 30_000)
    monkeypatch.setattr(codec_module, "MAX_SHARED_FRAME_BYTES", 100)
    kind.check_size(2000)
    with pytest.raises(UserError, match=r"'pictures' would have 0 MB, of which eye takes 0"):
        kind.check_size(2001)
    monkeypatch.setattr(codec_module, "MAX_MESSAGE_BYTES", 28_000)
    with pytest.raises(UserError, match="together"):
        Codec([kind]).encode(
            "pictures", None, {"eye": np.zeros((2000, 10), np.uint8), "ear": np.zeros((2000, 4), np.uint8)}
        )


def test_batches_that_cannot_be_sent_are_refused_before_anything_is_asked_for(tmp_path):
    """2 x 256 batches of 2 pictures of 512 x 512 x 4: 1,074 MB, of which a frame may have 268."""
    world = World(spec=Spec((Sensor("tag", (2,)), Sensor("eye", (512, 512, 4), "uint8")), 1), batch=256, calls=2)
    with (
        inserting(Records(tmp_path, ""), world=world) as one,
        pytest.raises(
            UserError,
            match=r"'batch' would have 10\d\d MB, of which obs/eye takes 1074.*lower replay.batch_size=256, sac.up",
        ),
    ):
        ReplayClient(one.client, world.batch, world.calls, None)


# --- what is kept of peers


def test_hellos_that_wait_for_a_description_are_bounded(tmp_path, monkeypatch):
    """Only the newest hellos are kept; a client that was forgotten says hello again, and is welcomed."""
    monkeypatch.setattr(server_module, "MAX_PENDING_DESCRIPTIONS", 3)
    with Served(WORLD, tmp_path) as served, Stranger(served) as stranger:
        for number in range(10):
            assert stranger.say(hello(hash="other", number=number)).hears() == "describe_yourself"
            stranger.anew()
        assert [asked["number"] for asked in served.server._pending.values()] == [7, 8, 9]
        assert stranger.say(WORLD.codec.say("describe", WORLD.description.text())) and not served.server.peers
        stranger.say(hello(hash="other", number=5))
        assert stranger.hears() == "describe_yourself"
        stranger.say(WORLD.codec.say("describe", WORLD.description.text()))
        assert stranger.hears() == "welcome" and len(served.server._pending) <= 3


def test_clients_are_bounded(tmp_path, monkeypatch):
    """Further clients are told to come later, and are welcomed when there is room."""
    monkeypatch.setattr(server_module, "MAX_PEERS", 3)
    with Served(WORLD, tmp_path) as served, Stranger(served) as stranger:
        for number in range(3):
            stranger.anew().say(hello(uid=f"a-{number}", life=10 + number, number=number))
            assert stranger.hears() == "welcome"
        stranger.say(hello(uid="a-2", life=12, number=2, session=2))
        assert stranger.hears() == "welcome", "who is in may come by another line"
        last = stranger.anew()
        assert last.say(hello(uid="a-9", life=19)).hears() == "later" and len(served.server.peers) == 3
        served.server._forget(next(iter(served.server.peers.values())))
        assert last.say(hello(uid="a-9", life=19)).hears() == "welcome"


def test_lives_that_were_replaced_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "MAX_REPLACED_INCARNATIONS", 3)
    with Served(WORLD, tmp_path) as served, Stranger(served) as stranger:
        for life in range(1, 11):
            assert stranger.anew().say(hello(life=life)).hears() == "welcome"
        assert list(served.server._replaced) == [7, 8, 9] and len(served.server.peers) == 1
        assert stranger.anew().say(hello(life=9)).hears() == "refused"


def test_who_becomes_somebody_else_on_one_line_leaves_as_the_other(tmp_path):
    """The open episodes of the replaced client are closed."""
    with Served(WORLD, tmp_path) as served, Stranger(served) as stranger:
        assert stranger.say(hello(role="actor", uid="actor-1", life=5)).hears() == "welcome"
        stranger.say(insert())
        wait_for(lambda: served.replay.acked(5) == 1)
        assert served.replay._writer.open
        stranger.say(hello(role="actor", uid="actor-2", life=6, session=2))
        wait_for(lambda: [peer.incarnation for peer in served.server.peers.values()] == [6])
        assert not served.replay._writer.open


@pytest.mark.parametrize("number", [-1, 10_001, 2**62])
def test_numbers_are_bounded(tmp_path, number):
    """An evolver keeps a record of every client number that ever came."""
    with Served(WORLD, tmp_path) as served, Stranger(served) as stranger:
        assert stranger.say(hello(number=number)).hears() == "refused" and not served.server.peers


def test_counters_are_bounded(monkeypatch):
    monkeypatch.setattr(peer_module, "MAX_COUNTERS", 3)
    monkeypatch.setattr(peer_module, "MAX_NAME_CHARACTERS", 5)
    told = {"long name": 1.0, "text": "x", **{f"n{i}": i for i in range(10)}}
    assert counters_of(json.dumps(told)) == {"n0": 0.0, "n1": 1.0, "n2": 2.0}


def test_batches_that_are_asked_for_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(replay_server, "MAX_WAITING_SAMPLES", 5)
    with Served(WORLD, tmp_path) as served, Stranger(served) as stranger:
        assert stranger.say(hello()).hears() == "welcome"
        for number in range(20):
            stranger.say(raw("sample", {"id": number, "slot": -1}))
        wait_for(lambda: served.server.bad == 15)
        assert [message["id"] for _, message in served.service._asked] == [0, 1, 2, 3, 4]


def test_episodes_that_nobody_reads_are_bounded(monkeypatch):
    monkeypatch.setattr(policy_server, "MAX_WAITING_EPISODES", 5)
    service = PolicyServer(None, None)
    for first in (0, 3, 6):
        service._take_episodes(np.arange(first, first + 3, dtype=np.float64), np.arange(first, first + 3))
    assert [service.episodes.get_nowait() for _ in range(5)] == [(float(i), i) for i in range(5)]
    assert service.episodes.empty()
    service._take_episodes(np.array([9.0]), np.array([9]))
    assert service.episodes.get_nowait() == (9.0, 9)


def test_streams_that_never_go_on_are_bounded(tmp_path, monkeypatch):
    """Each row has a new stream; the replay keeps the streams of the rows that it still holds."""
    monkeypatch.setattr(writer, "TIDY_ABOVE_STREAMS", 8)
    world = World(capacity=32)
    replay = world.replay(tmp_path)
    for seq in range(1, 401):
        step = tagged(1, seq, 2)._replace(stream=np.array([2 * seq, 2 * seq + 1]))
        ends = seq % 5 == 0
        assert replay.add_from(7, seq, step._replace(discount=np.full(2, 1.0 - ends, np.float32))) is not None
        assert (
            len(replay._writer.open) <= 2 * world.capacity + 2 and len(replay._writer.terminated) <= 2 * world.capacity
        )
    live = {(7, stream) for stream in range(2 * 385, 802)}
    assert live <= replay._writer.open.keys()
    assert replay.add_from(7, 401, tagged(1, 500, 1)._replace(stream=np.array([799]))) == 800
    assert replay.legal.tolist() == [797], "stream 799 goes on where it was"
    replay.close()


def test_a_replay_that_allows_everything_is_sent_so_many_chunks_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(inserting_module, "MAX_CHUNKS_UNDER_WAY", 3)
    with Served(WORLD, tmp_path) as served, inserting(served.directory) as one:
        wait_for(lambda: one.client.connected, meanwhile=one.pump)
        one._acknowledged(seq=0, room=2**40, since=1, first=-1)
        assert one._allowed == 3


def test_a_fault_is_logged_as_far_as_it_can_be_read(tmp_path, caplog):
    with Served(WORLD, tmp_path) as served, Stranger(served) as stranger:
        stranger.say(hello(hash="other")).hears()
        told = json.dumps({"shared": {"n_step": "x" * 500_000}, "told": {}})
        assert stranger.say(WORLD.codec.say("describe", told)).hears() == "refused"
        assert "n_step: xxx" in caplog.text and max(map(len, caplog.text.splitlines())) < 1200
