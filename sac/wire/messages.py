"""Every kind of message, and who sends it. Letters as in sac.types; n bytes of text, r rows, K batches of B windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from sac.replay import columns
from sac.types import Noise, Sensor, Spec, obs_columns
from sac.wire.codec import TEXT, Codec, Columns, MessageKind
from sac.wire.shared_memory import PLACE

Lasting = partial(MessageKind, apart=True)  # what peers of two versions understand
CONNECTION = (
    # client -> server
    Lasting(
        "hello", {"version": int, "role": str, "uid": str, "life": int, "number": int, "session": int, "hash": str}
    ),
    Lasting("describe", lead=("n",), columns=TEXT),  # the client's description, when it was asked for
    Lasting("ping", lead=("n",), columns=TEXT),  # its counters as JSON
    Lasting("bye"),  # it ends in order
    # server -> client
    Lasting("welcome", {"life": int}, ("n",), TEXT),  # with the server's description
    Lasting("refused", {}, ("n",), TEXT),  # why
    Lasting("later"),  # the server waits for somebody else
    Lasting("describe_yourself"),
    Lasting("say_hello"),  # whoever you are
    Lasting("pong", lead=("n",), columns=TEXT),  # its counters
    # both
    Lasting("end"),  # the run is over
)


def control() -> Codec:
    """What can be said before a schema is known."""
    return Codec(CONNECTION)


def replay_codec(spec: Spec, state_size: int, steps: int, burn_in: int, moments: Iterable[Sensor] = ()) -> Codec:
    """The replay's kinds; windows have `burn_in` + `steps` steps."""
    return Codec([
        *CONNECTION,
        MessageKind(
            "insert", {"seq": int, "after": int}, ("r",), {"stream": ((), "int64"), **columns(spec, state_size)}
        ),
        # chunks <= seq are stored, `room` more may be sent; those from `since` on lie from arrival number `first` on
        MessageKind("ack", {"seq": int, "room": int, "since": int, "first": int}),
        MessageKind("rejected", {"seq": int}, ("n",), TEXT),  # a chunk that is none, and why
        MessageKind("sample", WANTED),
        MessageKind("batch", BATCH, ("k", "b"), batch_columns(spec, state_size, steps, burn_in)),
        MessageKind("batch_written", {**BATCH, "slot": int}),
        MessageKind("memory", PLACE),  # where batches may be written
        MessageKind("memory_seen", {"seen": bool}),
        # and what is wanted next: a message costs more than what it says
        MessageKind("update", WANTED, ("k", "b"), {"index": ((), "int64"), "td_error": ((), "float32")}),
        MessageKind("refresh", {}, ("k", "b"), {"index": ((), "int64"), "state": ((state_size,), "float32")}),
        MessageKind("moments", {"count": int}, (), moment_columns(moments)),
        MessageKind("moments?"),
    ])  # fmt: skip


# A batch: which (NONE = none), and the slot of the shared memory in which it shall lie (NONE = send it).
WANTED: Mapping[str, type] = {"id": int, "slot": int}
NONE = -1
BATCH: Mapping[str, type] = {"id": int, "transitions": int}  # of the request; stored so far


def batch_columns(spec: Spec, state_size: int, steps: int, burn_in: int) -> Columns:
    """A Batch without its leading axes [K, B]."""
    length, row = burn_in + steps, columns(spec, state_size)
    observations = obs_columns({s.name: ((length + 1, *s.shape), s.dtype) for s in spec.sensors})
    states = {name: ((length + 1, *row[name][0]), row[name][1]) for name in ("mask", "previous")}
    acts = ("continuous", "discrete", "log_prob", "reward", "discount")
    return {
        **observations, **states,
        **{name: ((length, *row[name][0]), row[name][1]) for name in acts},
        "valid": ((length,), "float32"), "state": ((state_size,), "float32"), "stored": ((state_size,), "float32"),
        "weight": ((), "float32"), "index": ((), "int64"),
    }  # fmt: skip


def moment_columns(sensors: Iterable[Sensor]) -> Columns:
    return {f"{part}/{s.name}": (s.shape, "float64") for s in sensors for part in ("mean", "m2")}


def learner_codec(spec: Spec, state_size: int, candidates: int, weights: Columns) -> Codec:
    """The learner's kinds; `weights` are what acting needs, without any leading axis."""
    previous = spec.action_size if state_size else 0
    asked = {
        **obs_columns({s.name: (s.shape, s.dtype) for s in spec.sensors}),
        "mask": ((spec.choices,), "bool"), "previous": ((previous,), "float32"), "state": ((state_size,), "float32"),
        "normal": ((candidates, spec.continuous), "float32"), "gumbel": ((candidates, spec.choices), "float32"),
        "pick": ((candidates,), "float32"), "explore": ((), "float32"),
        "epsilon": ((), "float32"), "noise": ((), "float32"),  # how far its actor is set apart
    }  # fmt: skip
    chosen = {
        "raw": ((spec.continuous,), "float32"), "action": ((spec.continuous,), "float32"),
        "discrete": ((len(spec.branches),), "int32"), "log_prob": ((2,), "float32"),
        "state": ((state_size,), "float32"),
    }  # fmt: skip
    return Codec([
        *CONNECTION,
        MessageKind("weights?", {"have": int, "near": bool}),  # near: where they are is enough
        MessageKind("weights", {"version": int, "transitions": int}, (), weights, one_frame=True),
        MessageKind("weights_near", {"version": int, "transitions": int, **PLACE}),
        MessageKind("no_news", {"version": int, "transitions": int}),
        MessageKind("act", {"id": int}, ("r",), asked),
        MessageKind("chosen", {"id": int, "version": int, "transitions": int}, ("r",), chosen),
        MessageKind("episodes", {}, ("r",), {"return": ((), "float64"), "length": ((), "int64")}),
    ])  # fmt: skip


def evolver_codec(networks: Columns) -> Codec:
    """The evolver's kinds; `networks` are the numbers that evolve. What a learner shall be is numbered: `assigned`."""
    return Codec([
        *CONNECTION,
        MessageKind("evaluated", {"assigned": int, "step": int, "value": float}),  # a mean return
        MessageKind("noted", {"step": int}),
        MessageKind("what_am_i?", {"assigned": int}),  # what it is now; asked again and again
        MessageKind("networks?", {"generation": int}),  # the learner's, to make that generation of
        MessageKind("networks", {"generation": int, "assigned": int}, (), networks, one_frame=True),
        MessageKind("become", {"assigned": int}, (), networks, one_frame=True),
        MessageKind("begin_anew", {"assigned": int}),
        MessageKind("over"),  # the learner's run has ended
    ])  # fmt: skip


def as_noise(arrays: Mapping) -> Noise:
    return Noise(**{name: arrays[name] for name in Noise._fields})
