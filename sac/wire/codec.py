"""Messages as frames: a magic word, a small msgpack header with a fixed set of keys, the columns' raw bytes.

A frame costs more than copying a little, so word and header share the first one, with the columns where these are small
together; else each column has its own. What is encoded once and sent to many is one frame as long as it fits. Only what
is said before two peers know that they speak the same version has word, header and columns apart, in every version.

What a buffer holds (dtype and shape) is never read from a message: both sides know it from the Kind. Nothing is
pickled. Whatever is not exactly as expected is a BadMessage, which costs its sender the message and nobody anything
else.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from typing import Any

import msgpack
import numpy as np

from sac.errors import UserError

MAGIC = b"SAC1"
VERSION = 5
MAX_HEADER_BYTES = 1024  # bytes of a header at most
MAX_LEADING_AXIS = 1 << 20  # the longest leading axis
MAX_SHARED_FRAME_BYTES = 1 << 16  # bytes of columns that share a frame, at most
MAX_FRAME_BYTES = 1 << 28  # bytes of a frame: whoever sends more is cut off
MAX_MESSAGE_BYTES = 1 << 30  # bytes of a message, all its frames together: of a larger one nothing is decoded
INT64_LIMIT = 1 << 63
ALIGNMENT_BYTES = 8  # bytes: where columns begin behind a header
KIND = "kind"
_LENGTH = struct.Struct("<4sI")  # the word, and the bytes of the header
MAX_FRONT_BYTES = _LENGTH.size + MAX_HEADER_BYTES + ALIGNMENT_BYTES  # bytes before the columns of a frame, at most
Columns = Mapping[str, tuple[tuple[int, ...], str]]  # name -> shape of one row, dtype
TEXT: Columns = {"text": ((), "uint8")}


class BadMessage(Exception):  # noqa: N818 - a message, not an error of ours
    """What came is not a message of this protocol."""


@dataclass(frozen=True)
class MessageKind:
    """A kind of message: the header's keys with their types, and the columns that follow it.

    `lead` names those header keys that are the leading axes of every column. With `one_frame` these share one if it
    can hold them. `apart`: in frames that every version understands.
    """

    name: str
    fields: Mapping[str, type] = field(default_factory=dict)
    lead: tuple[str, ...] = ()
    columns: Columns = field(default_factory=dict)
    one_frame: bool = False
    apart: bool = False

    @cached_property
    def plan(self) -> list[tuple[str, tuple[int, ...], np.dtype, int]]:
        """Name, shape and dtype of each column, and the bytes of one row, in the order in which they are sent.

        Wide types come first: so each column is aligned in a shared frame that itself is.
        """
        found = [(name, shape, np.dtype(dtype)) for name, (shape, dtype) in self.columns.items()]
        found.sort(key=lambda column: -column[2].itemsize)
        return [(name, shape, dtype, math.prod(shape) * dtype.itemsize) for name, shape, dtype in found]

    @cached_property
    def _row(self) -> int:
        return sum(row for _, _, _, row in self.plan)

    def bytes(self, *lead: int) -> int:
        """Size of all columns together."""
        return math.prod(lead) * self._row

    def together(self, *lead: int) -> bool:
        """Whether the columns share one frame."""
        return bool(self.plan) and self.bytes(*lead) <= (
            MAX_FRAME_BYTES - MAX_FRONT_BYTES if self.one_frame else MAX_SHARED_FRAME_BYTES
        )

    def check_size(self, *lead: int) -> None:
        """Raises UserError for columns that the other end would not take, as it bounds frames and messages."""
        rows, whole = math.prod(lead), self.bytes(*lead)
        if whole <= MAX_FRAME_BYTES - MAX_FRONT_BYTES:
            return
        name, largest = max(((name, rows * row) for name, _, _, row in self.plan), key=lambda column: column[1])
        if largest > MAX_FRAME_BYTES or whole > MAX_MESSAGE_BYTES - MAX_FRONT_BYTES:
            raise UserError(
                f"a message '{self.name}' would have {whole / 1e6:.0f} MB, of which {name} takes {largest / 1e6:.0f}: "
                f"at most {MAX_FRAME_BYTES / 1e6:.0f} MB of one column and {MAX_MESSAGE_BYTES / 1e6:.0f} MB together can be sent"
            )


@dataclass(frozen=True)
class Message:
    """`values` of the header by key, `arrays` by column; the arrays are views of what came, and read-only."""

    kind: str
    values: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @property
    def text(self) -> str:
        """What a message with the column `text` says."""
        return self.arrays["text"].tobytes().decode("utf8", "replace")


class Codec:
    """Encodes and decodes the kinds that it knows."""

    def __init__(self, kinds: Iterable[MessageKind]):
        self.kinds = {kind.name: kind for kind in kinds}
        self.max_frames = 2 + max(
            (len(kind.columns) for kind in self.kinds.values()), default=0
        )  # of a message at most

    def encode(
        self, kind: str, values: Mapping[str, Any] | None = None, arrays: Mapping[str, np.ndarray] | None = None
    ) -> list:
        """Frames to send; the leading axes are taken from the arrays.

        Raises ValueError for arrays of another shape, UserError for more than the other end would take.
        """
        known = self.kinds[kind]
        lead, buffers = None, []
        for name, shape, dtype, _ in known.plan:
            array = np.asarray(arrays[name], dtype, order="C")
            lead = array.shape[: len(known.lead)] if lead is None else lead
            if array.shape != lead + shape:
                raise ValueError(f"{kind}: column {name} has shape {array.shape}, not {lead} + {shape}")
            buffers.append(array.data if array.nbytes else b"")
        known.check_size(*lead or ())
        header = msgpack.packb({KIND: kind, **(values or {}), **dict(zip(known.lead, lead or ()))})
        together = known.together(*lead or ())
        if known.apart:
            return [MAGIC, header, *([b"".join(buffers)] if together else buffers)]
        head = _LENGTH.pack(MAGIC, len(header)) + header + bytes(-len(header) % ALIGNMENT_BYTES)
        return [b"".join([head, *buffers])] if together else [head, *buffers]

    def say(self, kind: str, text: str, **values: Any) -> list:
        """Frames of a kind with the column `text`."""
        return self.encode(kind, values, {"text": np.frombuffer(text.encode("utf8"), np.uint8)})

    def decode(self, frames: Sequence[Any]) -> Message:
        """Frames (bytes, or flat views of them) as a message. Raises BadMessage."""
        first, *others = views = [memoryview(frame) for frame in frames or [b""]]
        size = sum(view.nbytes for view in views)
        if len(views) > self.max_frames or size > MAX_MESSAGE_BYTES:
            raise BadMessage(
                f"{len(views)} parts of {size} bytes, at most {self.max_frames} parts of {MAX_MESSAGE_BYTES} bytes are read"
            )
        if first[: len(MAGIC)] != MAGIC:
            raise BadMessage("not of this protocol")
        apart = first.nbytes == len(MAGIC)
        if apart:
            rest = first[len(MAGIC) :]
            frame, *columns = others or [rest]
        else:
            (frame, rest), columns = _taken_apart(first), others
        header = self._header(frame)
        kind = self.kinds.get(header.pop(KIND, None))
        if kind is None or kind.apart != apart:
            raise BadMessage("unknown kind")
        if header.keys() != kind.fields.keys() | set(kind.lead):
            raise BadMessage(f"{kind.name}: keys {list(header)}")
        for key, of in kind.fields.items():
            if type(header[key]) is not of or (of is int and not -INT64_LIMIT <= header[key] < INT64_LIMIT):
                raise BadMessage(f"{kind.name}: {key} is no {of.__name__}")
        lead = tuple(header[key] for key in kind.lead)
        if any(type(n) is not int or not 0 <= n <= MAX_LEADING_AXIS for n in lead):
            raise BadMessage(f"{kind.name}: {kind.lead} = {lead}")
        if rest.nbytes or (kind.together(*lead) and not apart):
            columns = [rest, *columns]
        return Message(kind.name, header, dict(self._arrays(kind, lead, columns)))

    @staticmethod
    def _header(frame: memoryview) -> dict:
        if frame.nbytes > MAX_HEADER_BYTES:
            raise BadMessage(f"a header of {frame.nbytes} bytes")
        try:
            header = msgpack.unpackb(frame, strict_map_key=True)
        except Exception as error:  # msgpack raises many kinds
            raise BadMessage(f"no header: {error}") from error
        if not isinstance(header, dict) or not isinstance(header.get(KIND), str):
            raise BadMessage("the header is no map with a kind")
        return header

    @staticmethod
    def _arrays(kind: MessageKind, lead: tuple[int, ...], frames: Sequence[Any]):
        """Each column as a view of its frame, or of its part of what all share."""
        rows, together, offset = math.prod(lead), kind.together(*lead), 0
        if len(frames) != (1 if together else len(kind.columns)):
            raise BadMessage(f"{kind.name}: {len(frames)} parts with columns")
        if together and len(frames[0]) != kind.bytes(*lead):
            raise BadMessage(f"{kind.name}: {len(frames[0])} bytes")
        for (name, shape, dtype, row), frame in zip(kind.plan, repeat(frames[0]) if together else frames):
            size = rows * row
            if not together and len(frame) != size:
                raise BadMessage(f"{kind.name}: {len(frame)} bytes of {name}")
            array = np.frombuffer(frame, dtype, size // dtype.itemsize, offset) if size else np.empty(0, dtype)
            if dtype.kind == "b" and size and np.maximum.reduce(array.view(np.uint8)) > 1:
                raise BadMessage(f"{kind.name}: {name} is neither true nor false")
            if together:
                offset += size
            yield name, array.reshape(lead + shape)


def _taken_apart(first: memoryview) -> tuple[memoryview, memoryview]:
    """The header, and what comes behind it."""
    size = _LENGTH.unpack_from(first)[1] if first.nbytes >= _LENGTH.size else MAX_HEADER_BYTES
    end = _LENGTH.size + size
    if end > first.nbytes:
        raise BadMessage("a header that does not end")
    return first[_LENGTH.size : end], first[end + -size % ALIGNMENT_BYTES :]
