"""What is no message: ways to spoil the frames of one, and a flood of them."""

from __future__ import annotations

import socket
import time

import msgpack
import numpy as np
import zmq

from sac.wire.codec import MAGIC, MAX_HEADER_BYTES, VERSION
from tests.wire.wire_kit import SPEC, WORLD, random_rows


def parts(frames: list[bytes]) -> list[bytes]:
    """The word, the header, and what holds columns."""
    first, *others = frames
    if first == MAGIC:
        return frames
    size = int.from_bytes(first[4:8], "little")
    rest = first[8 + -(-size // 8) * 8 :]
    columns = [*others] if others else [rest] if rest else []
    return [first[:4], first[8 : 8 + size], *columns]


def together(parts: list[bytes], like: list[bytes]) -> list[bytes]:
    """The frames of parts, put together as those of `like` are."""
    if like[0] == MAGIC or len(parts) < 2:
        return parts
    word, header, *columns = parts
    first = word + len(header).to_bytes(4, "little") + header + bytes(-len(header) % 8)
    joined = len(like) == 1 and len(columns) == 1
    return [first + columns[0]] if joined else [first, *columns]


def spoilt(change):
    """`change` of the parts as a change of the frames."""
    return lambda frames: together(change(parts(frames)), frames)


def header_with(**changes):
    """The header with other values; without those that are None."""

    def change(parts):
        header = {**msgpack.unpackb(parts[1]), **changes}
        return [parts[0], msgpack.packb({k: v for k, v in header.items() if v is not None}), *parts[2:]]

    return spoilt(change)


def exchanged(which: int, by: bytes):
    """Another part in place of one."""
    return spoilt(lambda parts: [*parts[:which], by, *parts[which + 1 :]])


def header_is(data: bytes):
    return spoilt(lambda parts: [parts[0], data, *parts[2:]])


def otherwise(frames: list[bytes]) -> list[bytes]:
    """What must be apart together, what must not be apart apart."""
    return together(parts(frames), [b""]) if frames[0] == MAGIC else parts(frames)


def deep(depth: int):
    return b"\x91" * depth + b"\x90"


WRONG = {
    "nothing": lambda frames: [],
    "only the word": lambda frames: parts(frames)[:1],
    "another word": spoilt(lambda parts: [b"SAC2", *parts[1:]]),
    "a longer word": spoilt(lambda parts: [b"SAC1SAC1SAC1", *parts[1:]]),
    "no word": lambda frames: parts(frames)[1:],
    "a frame more": lambda frames: [*frames, b""],
    "many frames more": lambda frames: [*frames, *[b"x"] * 1000],
    "truncated header": spoilt(lambda parts: [parts[0], parts[1][:-1], *parts[2:]]),
    "longer header": spoilt(lambda parts: [parts[0], parts[1] + b"x", *parts[2:]]),
    "oversized header": header_with(more="x" * MAX_HEADER_BYTES),
    "another key": header_with(more=1),
    "unknown kind": header_with(kind="hallo"),
    "no kind": header_with(kind=None),
    "kind of another type": header_with(kind=["hello"]),
    "empty header": header_is(b""),
    "a number": header_is(msgpack.packb(7)),
    "a list": header_is(msgpack.packb(["kind", "hello"])),
    "keys of bytes": header_is(msgpack.packb({"kind": "ping", b"kind": 1, "n": 0})),
    "keys that are numbers": header_is(msgpack.packb({"kind": "ping", 1: 1})),
    "an unhashable key": header_is(b"\x81\x90\x01"),
    "no text": header_is(b"\x81\xa4kind\xa4\xff\xff\xff\xff"),
    "deep": header_is(deep(600)),
    "deep in a map": header_is(b"\x81\xa4kind" + deep(1000)),
    "huge": header_is(b"\xdd\xff\xff\xff\xff"),
    "a huge map": header_is(b"\xdf\xff\xff\xff\xff"),
    "a huge string": header_is(b"\x81\xa4kind\xdb\xff\xff\xff\xff"),
    "an object": header_is(b"\x81\xa4kind\xc7\x04\x05abcd"),
    "a time": header_is(msgpack.packb({"kind": msgpack.Timestamp(1)})),
    "half a head": lambda frames: [frames[0][:6]],
    "a header that goes on for ever": lambda frames: [b"SAC1" + b"\xff" * 4 + frames[0][8:], *frames[1:]],
    "put together otherwise": lambda frames: otherwise(frames),
    "noise": header_is(bytes(range(256))),
}  # fmt: skip


def raw(*message) -> list[bytes]:
    return [bytes(frame) for frame in WORLD.codec.encode(*message)]


def hello(**changes) -> list[bytes]:
    mine = {"version": VERSION, "role": "learner", "uid": "stranger", "life": 5, "number": 9, "session": 1}
    return raw("hello", {**mine, "hash": WORLD.description.hash, **changes})


def insert(seq: int = 1, after: int = 0, rows: int = 4, **changes) -> list[bytes]:
    step = random_rows(SPEC, 0, rows, np.random.default_rng(0))._replace(**changes)
    return raw("insert", {"seq": seq, "after": after}, step.columns())


def bad_messages() -> list[list[bytes]]:
    """Each is counted as one, whoever sends it."""
    good = [insert(), hello(), raw("sample", {"id": 1, "slot": -1}), WORLD.codec.say("ping", "{}")]
    wrong = [spoil(frames) for spoil in WRONG.values() for frames in good]
    columns = range(2, len(parts(good[0])))
    cut = [(i, part[:-1]) for i, part in enumerate(parts(good[0])) if i in columns and part]
    more = [(i, part * 2 + b"\0") for i, part in enumerate(parts(good[0])) if i in columns]
    sizes = [exchanged(i, wrong)(good[0]) for i, wrong in cut + more]
    lead = [header_with(r=r)(good[0]) for r in (-1, 5, 2**40, 2**64 - 1, True, "4")]
    nan = [insert(seq=7, after=6, rows=2, reward=np.full(2, np.nan, np.float32)), insert(seq=7, after=6, rows=0)]
    old = [hello(version=0), hello(life=0), hello(life=-3)]
    apart = insert(rows=1024)  # each column in a frame of its own
    sizes += [[*apart[:i], apart[i][:-1], *apart[i + 1 :]] for i in (1, len(apart) - 1)]
    return [frames for frames in wrong + sizes + lead + nan + old if frames]


def strange_messages() -> list[list[bytes]]:
    """Well-formed, and senseless: nothing may come of them."""
    empty, far = np.zeros((0, 0), np.int64), np.full((1, 3), 2**62)
    say = WORLD.codec.say
    nothing, everything = {"id": -1, "slot": -1}, {"id": -(2**62), "slot": 2**62}
    place = {"process": -7, "handle": 2**62, "slots": 3, "token": -(2**62)}
    return [
        say("ping", "[" * 100_000), say("ping", "7"), say("ping", '{"a": 1e999}'), hello(hash="other"),
        say("describe", "[" * 100_000), hello(hash="other"), say("describe", '{"shared": {}, "told": {}}'),
        raw("memory", place), raw("memory", {**place, "slots": 2**40}),
        raw("memory", {**place, "process": 1, "slots": 0}),
        raw("update", nothing, {"index": far, "td_error": np.full((1, 3), np.nan, np.float32)}),
        raw("update", nothing, {"index": far, "td_error": np.ones((1, 3), np.float32)}),
        raw("update", nothing, {"index": -far, "td_error": np.ones((1, 3), np.float32)}),
        raw("update", nothing, {"index": empty, "td_error": empty}),
        raw("update", everything, {"index": far, "td_error": np.ones((1, 3), np.float32)}),
        raw("refresh", None, {"index": far, "state": np.zeros((1, 3, 0), np.float32)}),
        insert(seq=2**63 - 1), insert(seq=-5, after=-9), insert(seq=0, after=2**63 - 1),
        raw("welcome", {"life": 3}, {"text": np.zeros(1, np.uint8)}), raw("later"), raw("say_hello"),
        raw("ack", {"seq": 2**60, "room": 8, "since": 0, "first": 0}), raw("memory_seen", {"seen": True}),
    ]  # fmt: skip


def flood(address: str, count: int, per_second: float) -> None:
    """`count` bad messages, half of them from a peer that is welcome, with strange ones and raw bytes in between."""
    context = zmq.Context()
    peers = [context.socket(zmq.DEALER) for _ in range(2)]
    for peer in peers:
        peer.setsockopt(zmq.LINGER, 5000)
        peer.connect(address)
    peers[1].send_multipart(hello())
    bad, strange, began = bad_messages(), strange_messages(), time.monotonic()
    for i in range(count):
        peers[i % 2].send_multipart(bad[i // 2 % len(bad)])
        if i % 10 == 0:
            peers[1].send_multipart(strange[i // 10 % len(strange)])
        if i % 200 == 0:
            raw_bytes(address, i // 200)
        if i % 50 == 0:
            time.sleep(max(0.0, began + i / per_second - time.monotonic()))
    for peer in peers:
        peer.close()
    context.term()


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
BYTES = (
    b"", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 40, GREETING[:30],
    GREETING + READY[:9], GREETING + b"\xff" * 99,
    GREETING + READY + b"\x02" + b"\x7f" + b"\xff" * 7 + b"x" * 50,  # a frame of 2^63 bytes
    GREETING + READY + b"\x02" + (2**29).to_bytes(8, "big") + b"x" * 50, GREETING + READY + b"\x01\x04SAC1\x00\x10abc",
)  # fmt: skip


def raw_bytes(address: str, i: int) -> None:
    """Something else than ZeroMQ, or half of it, and then the line is cut."""
    host, port = address.removeprefix("tcp://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), 5) as line:
        line.sendall(BYTES[i % len(BYTES)])
