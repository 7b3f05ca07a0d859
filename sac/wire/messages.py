"""Every kind of message, and who sends it.

Leading axes: n bytes of text, r rows, k batches of b windows. Other letters as in sac.types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np

from sac.replay import columns
from sac.types import Noise, Sensor, Spec, obs_columns
from sac.wire.codec import TEXT, Codec, Columns, MessageKind
from sac.wire.shared_memory import PLACE

HandshakeKind = partial(MessageKind, in_frames=True)  # peers of different versions understand these
CONNECTION = (
    # client -> server
    HandshakeKind(
        "hello", {"version": int, "role": str, "uid": str, "life": int, "number": int, "session": int, "hash": str}
    ),
    HandshakeKind("describe", lead=("n",), columns=TEXT),  # the client's description, after describe_yourself
    HandshakeKind("ping", lead=("n",), columns=TEXT),  # its counters as JSON
    HandshakeKind("bye"),  # the client ends and will not come back
    # server -> client
    HandshakeKind("welcome", {"life": int}, ("n",), TEXT),  # with the server's description
    HandshakeKind("refused", {}, ("n",), TEXT),  # the reason
    HandshakeKind("later"),  # there is no place yet, or no learner has described the run
    HandshakeKind("describe_yourself"),
    HandshakeKind("say_hello"),  # the server does not know this client
    HandshakeKind("pong", lead=("n",), columns=TEXT),  # the server's counters
    # both directions
    HandshakeKind("end"),  # the run is over
)


def control() -> Codec:
    """The codec of a connection whose columns are not known yet."""
    return Codec(CONNECTION)


def replay_codec(spec: Spec, state_size: int, steps: int, burn_in: int, normalized: Iterable[Sensor] = ()) -> Codec:
    """The replay's kinds of messages. Windows have `burn_in` + `steps` steps; `normalized`: sensors with statistics."""
    return Codec([
        *CONNECTION,
        # Chunk number `seq` of this client, which knows that its chunks up to `after` are stored.
        MessageKind(
            "insert", {"seq": int, "after": int}, ("r",), {"stream": ((), "int64"), **columns(spec, state_size)}
        ),
        # The chunks up to `seq` are stored, and `room` more may be sent. The rows of the chunks from `since` on have
        # the arrival numbers first, first + 1, ...
        MessageKind("ack", {"seq": int, "room": int, "since": int, "first": int}),
        MessageKind("rejected", {"seq": int}, ("n",), TEXT),  # which chunk, and what is wrong with it
        MessageKind("sample", WANTED),
        MessageKind("batch", BATCH, ("k", "b"), batch_columns(spec, state_size, steps, burn_in)),
        MessageKind("batch_written", {**BATCH, "slot": int}),
        MessageKind("memory", PLACE),  # of the learner, into which batches may be written
        MessageKind("memory_seen", {"seen": bool}),
        # TD errors carry the question for the next batch, since each message has a cost of its own.
        MessageKind("update", WANTED, ("k", "b"), {"index": ((), "int64"), "td_error": ((), "float32")}),
        MessageKind("refresh", {}, ("k", "b"), {"index": ((), "int64"), "state": ((state_size,), "float32")}),
        MessageKind("moments", {"count": int}, (), stats_columns(normalized)),
        MessageKind("moments?"),
    ])  # fmt: skip


NONE = -1
# The batch that a learner asks for (NONE: none), and the slot of the shared memory to write it to (NONE: send it).
WANTED: Mapping[str, type] = {"id": int, "slot": int}
BATCH: Mapping[str, type] = {"id": int, "transitions": int}  # the request that is answered, transitions stored so far


def batch_columns(spec: Spec, state_size: int, steps: int, burn_in: int) -> Columns:
    """The columns of a Batch, without its leading axes [K, B]."""
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


def stats_columns(sensors: Iterable[Sensor]) -> Columns:
    """The columns of running statistics: each sensor's mean and sum of squared deviations."""
    return {f"{part}/{s.name}": (s.shape, "float64") for s in sensors for part in ("mean", "m2")}


def learner_codec(spec: Spec, state_size: int, candidates: int, weights: Columns) -> Codec:
    """The learner's kinds of messages; `weights` are the variables that acting needs (none: actors ask for actions)."""
    previous = spec.action_size if state_size else 0
    asked = {
        **obs_columns({s.name: (s.shape, s.dtype) for s in spec.sensors}),
        "mask": ((spec.choices,), "bool"), "previous": ((previous,), "float32"), "state": ((state_size,), "float32"),
        "normal": ((candidates, spec.continuous), "float32"), "gumbel": ((candidates, spec.choices), "float32"),
        "pick": ((candidates,), "float32"), "explore": ((), "float32"),
        "epsilon": ((), "float32"), "noise": ((), "float32"),  # the asking actor's extra exploration
    }  # fmt: skip
    chosen = {
        "raw": ((spec.continuous,), "float32"), "action": ((spec.continuous,), "float32"),
        "discrete": ((len(spec.branches),), "int32"), "log_prob": ((2,), "float32"),
        "state": ((state_size,), "float32"),
    }  # fmt: skip
    return Codec([
        *CONNECTION,
        MessageKind("weights?", {"have": int, "near": bool}),  # near: an address in shared memory is enough
        MessageKind("weights", {"version": int, "transitions": int}, (), weights, one_frame=True),
        MessageKind("weights_near", {"version": int, "transitions": int, **PLACE}),
        MessageKind("no_news", {"version": int, "transitions": int}),
        MessageKind("act", {"id": int}, ("r",), asked),
        MessageKind("chosen", {"id": int, "version": int, "transitions": int}, ("r",), chosen),
        MessageKind("episodes", {}, ("r",), {"return": ((), "float64"), "length": ((), "int64")}),
    ])  # fmt: skip


def evolver_codec(networks: Columns, rows: Columns) -> Codec:
    """The evolver's kinds of messages; `networks` are the variables that evolve.

    `assigned` counts what the evolver has assigned to a learner: networks, or to begin anew. Networks may contain
    hyperparameters, numbers/<key> []. `rows` are the columns of rows that learners share; they may
    share none.
    """
    numbers = {name: column for name, column in networks.items() if name.startswith("numbers/")}
    return Codec([
        *CONNECTION,
        MessageKind("evaluated", {"assigned": int, "step": int, "value": float}),  # the mean return of an evaluation
        MessageKind("noted", {"step": int}),  # the evaluation at this step has been saved
        MessageKind("what_am_i?", {"assigned": int}, (), numbers),  # what the learner has now; asked again and again
        MessageKind("networks?", {"generation": int}),  # asks a donor for its networks, to make this generation
        MessageKind("networks", {"generation": int, "assigned": int}, (), networks, one_frame=True),
        MessageKind("become", {"assigned": int}, (), networks, one_frame=True),
        MessageKind("begin_anew", {"assigned": int}),
        MessageKind("over"),  # the learner's run has ended
        *([
            MessageKind("rows", {"seq": int}, ("r",), rows),  # chunk number `seq` of what a learner has collected
            MessageKind("rows_of", {"learner": int, "seq": int}, ("r",), rows),  # ... passed on to the others
        ] if rows else []),
    ])  # fmt: skip


def as_noise(arrays: Mapping[str, np.ndarray]) -> Noise:
    """The random numbers of a message `act`."""
    return Noise(**{name: arrays[name] for name in Noise._fields})
