"""Messages as frames: a magic word, a small msgpack header with a fixed set of keys, the raw bytes of the columns.

Sending a frame costs more than copying a few bytes. So magic word and header share the first frame, and small columns
follow in it; otherwise each column has a frame of its own. A message that is encoded once and sent to many receivers
(`one_frame`) has one frame as long as it fits. The messages of the handshake, which peers of different versions
exchange, always have magic word, header and columns in separate frames (`in_frames`).

Dtype and shape of a column are never read from a message: both ends know them from the MessageKind. Nothing is pickled.
Whatever is not exactly as expected is a BadMessage: it is dropped, and its sender stays connected.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from typing import Any

import msgpack
import numpy as np

from sac.errors import UserError
from sac.wire.frames import Frames

MAGIC = b"SAC1"
VERSION = 5
MAX_HEADER_BYTES = 1024
MAX_LEADING_AXIS = 1 << 20  # rows along each leading axis
MAX_SHARED_FRAME_BYTES = 1 << 16  # of columns that share a frame
MAX_FRAME_BYTES = 1 << 28  # ZeroMQ closes the connection of whoever sends a larger frame
MAX_MESSAGE_BYTES = 1 << 30  # of all frames together; larger messages are not decoded
INT64_LIMIT = 1 << 63
ALIGNMENT_BYTES = 8  # columns behind a header begin at multiples of this
KIND = "kind"
_LENGTH = struct.Struct("<4sI")  # the magic word, and the header's length in bytes
MAX_FRONT_BYTES = _LENGTH.size + MAX_HEADER_BYTES + ALIGNMENT_BYTES  # before the columns of a frame
Columns = Mapping[str, tuple[tuple[int, ...], str]]  # name -> shape of one row, dtype
TEXT: Columns = {"text": ((), "uint8")}


class BadMessage(Exception):  # noqa: N818 - the fault lies with the message's sender
    """The received frames are not a message of this protocol."""


@dataclass(frozen=True)
class MessageKind:
    """A kind of message: the keys of its header with their types, and the columns that follow the header.

    `lead` names the header's keys that hold the lengths of the leading axes, which all columns have. With `one_frame`
    columns share a frame if it can hold them. With `in_frames` magic word, header and columns never share a frame.
    """

    name: str
    fields: Mapping[str, type] = field(default_factory=dict)
    lead: tuple[str, ...] = ()
    columns: Columns = field(default_factory=dict)
    one_frame: bool = False
    in_frames: bool = False

    @cached_property
    def plan(self) -> list[tuple[str, tuple[int, ...], np.dtype[Any], int]]:
        """Name, shape of a row, dtype and bytes of a row of each column, in the order in which they are sent.

        Columns with wide dtypes come first, so that every column of an aligned frame is aligned.
        """
        found = [(name, shape, np.dtype(dtype)) for name, (shape, dtype) in self.columns.items()]
        found.sort(key=lambda column: -column[2].itemsize)
        return [(name, shape, dtype, math.prod(shape) * dtype.itemsize) for name, shape, dtype in found]

    @cached_property
    def _row_bytes(self) -> int:
        return sum(row for _, _, _, row in self.plan)

    def bytes(self, *lead: int) -> int:
        """Size of all columns together, for leading axes of these lengths."""
        return math.prod(lead) * self._row_bytes

    def together(self, *lead: int) -> bool:
        """Whether the columns share one frame."""
        most = MAX_FRAME_BYTES - MAX_FRONT_BYTES if self.one_frame else MAX_SHARED_FRAME_BYTES
        return bool(self.plan) and self.bytes(*lead) <= most

    def check_size(self, *lead: int) -> None:
        """Raises UserError for columns that exceed the receiver's bounds of a frame or of a message."""
        rows, whole = math.prod(lead), self.bytes(*lead)
        if whole <= MAX_FRAME_BYTES - MAX_FRONT_BYTES:
            return
        name, largest = max(((name, rows * row) for name, _, _, row in self.plan), key=lambda column: column[1])
        if largest > MAX_FRAME_BYTES or whole > MAX_MESSAGE_BYTES - MAX_FRONT_BYTES:
            raise UserError(
                f"a message '{self.name}' would have {whole / 1e6:.0f} MB, of which {name} takes {largest / 1e6:.0f}: "
                f"at most {MAX_FRAME_BYTES / 1e6:.0f} MB of one column and {MAX_MESSAGE_BYTES / 1e6:.0f} MB together "
                "can be sent"
            )


@dataclass(frozen=True)
class Message:
    """The header's `values` by key, and `arrays` by column: read-only views of the received frames."""

    kind: str
    values: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @property
    def text(self) -> str:
        """The text of a message with the column `text`."""
        return self.arrays["text"].tobytes().decode("utf8", "replace")


class Codec:
    """Encodes and decodes messages of the given kinds."""

    def __init__(self, kinds: Iterable[MessageKind]):
        self.kinds = {kind.name: kind for kind in kinds}
        self.max_frames = 2 + max(
            (len(kind.columns) for kind in self.kinds.values()), default=0
        )  # of a message at most

    def encode(
        self, kind: str, values: Mapping[str, Any] | None = None, arrays: Mapping[str, np.ndarray] | None = None
    ) -> Frames:
        """The frames of a message; the lengths of its leading axes are those of the arrays.

        Raises ValueError for arrays of another shape, UserError for columns that exceed the receiver's bounds.
        """
        known, arrays = self.kinds[kind], arrays or {}
        lead: tuple[int, ...] | None = None
        buffers: Frames = []
        for name, shape, dtype, _ in known.plan:
            array = np.asarray(arrays[name], dtype, order="C")
            lead = array.shape[: len(known.lead)] if lead is None else lead
            if array.shape != lead + shape:
                raise ValueError(f"{kind}: column {name} has shape {array.shape}, not {lead} + {shape}")
            buffers.append(array.data if array.nbytes else b"")
        known.check_size(*lead or ())
        header = msgpack.packb({KIND: kind, **(values or {}), **dict(zip(known.lead, lead or ()))})
        together = known.together(*lead or ())
        if known.in_frames:
            return [MAGIC, header, *([b"".join(buffers)] if together else buffers)]
        head = _LENGTH.pack(MAGIC, len(header)) + header + bytes(-len(header) % ALIGNMENT_BYTES)
        return [b"".join([head, *buffers])] if together else [head, *buffers]

    def say(self, kind: str, text: str, **values: Any) -> Frames:
        """The frames of a message with the column `text`."""
        return self.encode(kind, values, {"text": np.frombuffer(text.encode("utf8"), np.uint8)})

    def decode(self, frames: Sequence[Any]) -> Message:
        """The message that these frames (bytes, or flat views of bytes) hold. Raises BadMessage."""
        first, *others = views = [memoryview(frame) for frame in frames or [b""]]
        size = sum(view.nbytes for view in views)
        if len(views) > self.max_frames or size > MAX_MESSAGE_BYTES:
            most = f"at most {self.max_frames} parts of {MAX_MESSAGE_BYTES} bytes"
            raise BadMessage(f"{len(views)} parts of {size} bytes, {most} are read")
        if first[: len(MAGIC)] != MAGIC:
            raise BadMessage("not of this protocol")
        in_frames = first.nbytes == len(MAGIC)
        if in_frames:
            rest = first[len(MAGIC) :]
            frame, *columns = others or [rest]
        else:
            (frame, rest), columns = _header_and_rest(first), others
        header = self._header(frame)
        kind = self.kinds.get(header.pop(KIND, None))
        if kind is None or kind.in_frames != in_frames:
            raise BadMessage("unknown kind")
        if header.keys() != kind.fields.keys() | set(kind.lead):
            raise BadMessage(f"{kind.name}: keys {list(header)}")
        for key, of in kind.fields.items():
            if type(header[key]) is not of or (of is int and not -INT64_LIMIT <= header[key] < INT64_LIMIT):
                raise BadMessage(f"{kind.name}: {key} is no {of.__name__}")
        lead = tuple(header[key] for key in kind.lead)
        if any(type(n) is not int or not 0 <= n <= MAX_LEADING_AXIS for n in lead):
            raise BadMessage(f"{kind.name}: {kind.lead} = {lead}")
        if rest.nbytes or (kind.together(*lead) and not in_frames):
            columns = [rest, *columns]
        return Message(kind.name, header, dict(self._arrays(kind, lead, columns)))

    @staticmethod
    def _header(frame: memoryview) -> dict[str, Any]:
        if frame.nbytes > MAX_HEADER_BYTES:
            raise BadMessage(f"a header of {frame.nbytes} bytes")
        try:
            header = msgpack.unpackb(frame, strict_map_key=True)
        except Exception as error:  # msgpack raises exceptions of many classes
            raise BadMessage(f"no header: {error}") from error
        if not isinstance(header, dict) or not isinstance(header.get(KIND), str):
            raise BadMessage("the header is no map with a kind")
        return header

    @staticmethod
    def _arrays(
        kind: MessageKind, lead: tuple[int, ...], frames: Sequence[memoryview]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Each column's name and array, which is a view of the column's frame, or of its part of the shared frame."""
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


def _header_and_rest(first: memoryview) -> tuple[memoryview, memoryview]:
    """Splits the first frame into the header and the columns behind it. Raises BadMessage."""
    size = _LENGTH.unpack_from(first)[1] if first.nbytes >= _LENGTH.size else MAX_HEADER_BYTES
    end = _LENGTH.size + size
    if end > first.nbytes:
        raise BadMessage("a header that does not end")
    return first[_LENGTH.size : end], first[end + -size % ALIGNMENT_BYTES :]
