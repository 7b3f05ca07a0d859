"""Frames: every kind comes back as it was sent, and whatever else comes is a BadMessage."""

from __future__ import annotations

import numpy as np
import pytest

from sac.types import Batch, Sensor, Spec, Step
from sac.wire import codec as wire_codec
from sac.wire.codec import MAX_HEADER_BYTES, MAX_SHARED_FRAME_BYTES, BadMessage, Codec, MessageKind
from sac.wire.messages import control, learner_codec, replay_codec
from tests.wire.malformed import WRONG, exchanged, header_with, hello, parts
from tests.wire.wire_kit import SPEC, WORLD, World, random_rows

SEEDS = range(25)


@pytest.fixture(autouse=True, params=[MAX_SHARED_FRAME_BYTES, -1], ids=["one frame", "a frame each"])
def columns_share_a_frame(request, monkeypatch):
    monkeypatch.setattr(wire_codec, "MAX_SHARED_FRAME_BYTES", request.param)


DTYPES = ("float32", "float64", "uint8", "int64", "bool")


def random_spec(rng) -> Spec:
    """Vectors and pictures, wide or of width 0; continuous, discrete, hybrid or no actions."""
    sensors = [Sensor(f"v{i}", (int(rng.integers(5)),)) for i in range(rng.integers(1, 4))]
    sensors += [Sensor("eye", (*rng.integers(1, 6, 2).tolist(), 3), "uint8")] * int(rng.integers(2))
    return Spec(tuple(sensors), int(rng.integers(3)), tuple(rng.integers(2, 5, rng.integers(3)).tolist()))


def random_codecs(rng) -> list[Codec]:
    spec, state = random_spec(rng), int(rng.integers(2)) * 4
    steps, burn_in = int(rng.integers(1, 4)), int(rng.integers(3))
    weights = {f"w{i}": (tuple(rng.integers(0, 4, rng.integers(3)).tolist()), "float32") for i in range(3)}
    normalized = [sensor for sensor in spec.sensors if sensor.normalizable]
    return [control(), replay_codec(spec, state, steps, burn_in, normalized), learner_codec(spec, state, 2, weights)]


def random_message(kind: MessageKind, rng) -> tuple[dict, dict]:
    """Values and arrays of a kind; any leading axis may be 0."""
    make = {int: lambda: int(rng.integers(-5, 2**60)), float: rng.random, str: lambda: "Ä" * 3, bool: lambda: True}
    lead = tuple(rng.integers(0, 4, len(kind.lead)).tolist())
    arrays = {
        name: rng.integers(0, 2 if dtype == "bool" else 100, (*lead, *shape)).astype(dtype)
        for name, (shape, dtype) in kind.columns.items()
    }
    return {key: make[of]() for key, of in kind.fields.items()}, arrays


def on_the_wire(codec: Codec, kind: MessageKind, rng) -> list[bytes]:
    return sent(codec, kind.name, *random_message(kind, rng))


def sent(codec: Codec, *message) -> list[bytes]:
    return [bytes(frame) for frame in codec.encode(*message)]


def an_insert(codec: Codec, step: Step) -> list[bytes]:
    return sent(codec, "insert", {"seq": 1, "after": 0}, step.columns())


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind_comes_back_as_it_was_sent(seed):
    rng = np.random.default_rng(seed)
    for codec in random_codecs(rng):
        for kind in codec.kinds.values():
            values, arrays = random_message(kind, rng)
            frames = codec.encode(kind.name, values, arrays)
            got = codec.decode([bytes(frame) for frame in frames])
            assert got.kind == kind.name and got.arrays.keys() == arrays.keys()
            assert {key: got[key] for key in values} == values
            columns = parts([bytes(frame) for frame in frames])[2:]
            assert sum(map(len, columns)) == kind.bytes(*(got[n] for n in kind.lead))
            for name, array in arrays.items():
                assert got.arrays[name].dtype == array.dtype and got.arrays[name].flags.aligned
                np.testing.assert_array_equal(got.arrays[name], array, strict=True)


def test_steps_and_batches_keep_their_fields():
    world = World(state=3, steps=2, burn_in=1)
    step = random_rows(world.spec, 3, 9, np.random.default_rng(0))
    sent = world.codec.decode([bytes(f) for f in world.codec.encode("insert", {"seq": 1, "after": 0}, step.columns())])
    got = Step.of(sent.arrays)
    assert sent["r"] == 9 and got.obs.keys() == step.obs.keys()
    for name in Step._fields[2:]:
        np.testing.assert_array_equal(getattr(got, name), getattr(step, name))
    replay = world.replay()
    replay.add(step._replace(stream=np.zeros(9, np.int64), last=np.zeros(9, bool)))
    batch = replay.sample(4, 2)
    told = {"id": 1, "transitions": 9}
    got = Batch.of(world.codec.decode([bytes(f) for f in world.codec.encode("batch", told, batch.columns())]).arrays)
    for name in Batch._fields[1:]:
        np.testing.assert_array_equal(getattr(got, name), getattr(batch, name), strict=True)


def test_what_many_get_is_one_frame(monkeypatch):
    """Where that can hold it; what is sent once is not copied into one."""
    columns = {f"layer{i}": ((MAX_SHARED_FRAME_BYTES,), "uint8") for i in range(2)}
    arrays = {name: np.full(MAX_SHARED_FRAME_BYTES, i, np.uint8) for i, name in enumerate(columns)}
    codec, values = learner_codec(SPEC, 0, 1, columns), {"version": 1, "transitions": 2}
    assert len(Codec([MessageKind("once", {}, (), columns)]).encode("once", {}, arrays)) == 3
    for largest, frames in (
        (2 * MAX_SHARED_FRAME_BYTES + wire_codec.MAX_FRONT_BYTES, 1),
        (2 * MAX_SHARED_FRAME_BYTES + wire_codec.MAX_FRONT_BYTES - 1, 3),
    ):
        monkeypatch.setattr(wire_codec, "MAX_FRAME_BYTES", largest)
        sent = codec.encode("weights", values, arrays)
        assert len(sent) == frames
        assert max(memoryview(frame).nbytes for frame in sent) <= largest, "or it would be cut off"
        for name, array in codec.decode(sent).arrays.items():
            np.testing.assert_array_equal(array, arrays[name])


def test_columns_share_a_frame_up_to_a_size():
    codec = Codec([MessageKind("k", {}, ("n",), {"a": ((), "uint8"), "b": ((), "uint8")})])
    most = wire_codec.MAX_SHARED_FRAME_BYTES // 2
    for n in (0, 1, max(0, most), most + 1):
        arrays = {"a": np.zeros(n, np.uint8), "b": np.ones(n, np.uint8)}
        frames = [bytes(frame) for frame in codec.encode("k", None, arrays)]
        assert len(frames) == (1 if n <= most else 3)
        np.testing.assert_array_equal(codec.decode(frames).arrays["b"], arrays["b"])


def test_text_is_what_was_said():
    assert control().decode(control().say("refused", "weil Ü")).text == "weil Ü"
    assert control().decode([*control().say("refused", "ab")[:2], b"\xff\xfe"]).text == "��"


def test_arrays_of_another_shape_are_not_sent():
    codec = World().codec
    good = random_rows(World().spec, 0, 3, np.random.default_rng(0)).columns()
    for name in good:
        with pytest.raises(ValueError, match="column"):
            codec.encode("insert", {"seq": 1, "after": 0}, {**good, name: good[name][:2]})
    with pytest.raises(ValueError, match="reward"):
        codec.encode("insert", {"seq": 1, "after": 0}, {**good, "reward": good["reward"][:, None]})


# --- malformed


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_message_is_a_bad_message(wrong):
    rng = np.random.default_rng(0)
    for codec in random_codecs(rng):
        for kind in codec.kinds.values():
            frames = WRONG[wrong](on_the_wire(codec, kind, rng))
            with pytest.raises(BadMessage):
                codec.decode(frames)


@pytest.mark.parametrize("wrong", [-1, 2**20 + 1, 2**63, 2**64 - 1, True, 1.0, "1", [1], None])
def test_leading_axes_are_small_numbers(wrong):
    codec = World().codec
    frames = an_insert(codec, random_rows(SPEC, 0, 1, np.random.default_rng(0)))
    codec.decode(frames)
    with pytest.raises(BadMessage):
        codec.decode(header_with(r=wrong)(frames))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("hello", {"version": "1"}), ("hello", {"version": True}), ("hello", {"role": b"actor"}),
        ("hello", {"life": 1.5}),
        ("hello", {"life": 2**63}), ("hello", {"uid": None}), ("insert", {"seq": 2**64 - 1}), ("insert", {"seq": [1]}),
        ("batch", {"transitions": 0.5}), ("memory_seen", {"seen": 1}), ("memory", {"token": 0.0}),
    ],
)  # fmt: skip
def test_values_of_another_type_are_bad(kind, values):
    codec = World().codec
    frames = on_the_wire(codec, codec.kinds[kind], np.random.default_rng(0))
    codec.decode(frames)
    with pytest.raises(BadMessage):
        codec.decode(header_with(**values)(frames))


@pytest.mark.parametrize("seed", SEEDS)
def test_columns_of_another_size_are_bad(seed):
    rng = np.random.default_rng(seed)
    for codec in random_codecs(rng):
        for kind in codec.kinds.values():
            for i in range(2, len(parts(on_the_wire(codec, kind, rng)))):
                frames = on_the_wire(codec, kind, rng)
                part = parts(frames)[i] if i < len(parts(frames)) else b""  # of another length this time
                for wrong in (part + b"\0", part[:-1] if part else b"\0\0"):
                    with pytest.raises(BadMessage):
                        codec.decode(exchanged(i, wrong)(frames))


def test_a_bool_is_0_or_1():
    codec = Codec([MessageKind("k", {}, ("n",), {"b": ((), "bool")})])
    frames = codec.encode("k", None, {"b": np.array([True, False])})
    assert codec.decode(exchanged(2, b"\1\0")(frames)).arrays["b"].tolist() == [True, False]
    with pytest.raises(BadMessage, match="neither"):
        codec.decode(exchanged(2, b"\1\2")(frames))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_noise_raises_anything_else(seed):
    rng = np.random.default_rng(seed)
    codecs = random_codecs(rng)
    refused = 0
    for _ in range(400):
        codec = codecs[rng.integers(3)]
        frames = on_the_wire(codec, list(codec.kinds.values())[rng.integers(len(codec.kinds))], rng)
        which = rng.integers(len(frames))
        noise = bytearray(frames[which])
        for place in rng.integers(0, max(1, len(noise)), 3) if noise else ():
            noise[place] = rng.integers(256)
        frames[which] = bytes(noise[: rng.integers(len(noise) + 1)] if rng.random() < 0.3 else noise)
        try:
            codec.decode(frames)
        except BadMessage:
            refused += 1
    assert refused > 50


def test_a_header_has_a_largest_size_whatever_it_says():
    """A text in it may be as long as it likes else."""
    good, bad = hello(uid="x" * 600), hello(uid="x" * MAX_HEADER_BYTES)
    assert WORLD.codec.decode(good)["uid"] == "x" * 600
    with pytest.raises(BadMessage, match=r"a header of 1\d\d\d bytes"):
        WORLD.codec.decode(bad)
