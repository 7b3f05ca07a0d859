"""The .demo files of Unity ML-Agents: one agent's demonstrations, of the editor or of `role=play record=demo`.

A file begins with a DemonstrationMetaProto in 33 reserved bytes, then holds a BrainParametersProto and one
AgentInfoActionPairProto for each decision, each behind its length as a varint. Unity appends a few bytes when it
closes a file, so that a reader has to stop after the stated number of records.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from envs.unity_adapter.mlagents import (
    AgentInfoActionPairProto,
    BrainParametersProto,
    DemonstrationMetaProto,
)
from sac.errors import UserError
from sac.files import replacing

HEADER_BYTES = 33  # reserved for the length and the content of the DemonstrationMetaProto
API_VERSIONS = (0, 1)
VARINT_BITS, VARINT_MORE, MAX_VARINT_BYTES = 7, 0x80, 5


@dataclass
class Demonstration:
    """The content of one file: what the agent observes and does, and its records in order.

    `cut` says that the file ends in the middle of a record, as after a crash of the player; `complete` that the player
    has closed it.
    """

    path: Path
    meta: Any
    brain: Any
    pairs: list[Any]
    cut: bool = False

    @property
    def complete(self) -> bool:
        return self.meta.number_steps > 0


def demonstration_files(path: Path) -> list[Path]:
    """The .demo files that a path names: itself, or those in the folder. Raises UserError when there are none."""
    if path.is_dir():
        found = sorted(path.glob("*.demo"))
        if found:
            return found
        raise UserError(f"replay.load=demo:{path}: no .demo file is in this folder")
    if not path.is_file():
        raise UserError(f"replay.load=demo:{path}: there is no such file or folder")
    return [path]


def read_demonstration(path: Path) -> Demonstration:
    """Raises UserError for a file that is none, or that holds no whole record."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"replay.load=demo:{path} cannot be read: {error.strerror or error}") from error
    try:
        meta = DemonstrationMetaProto.FromString(_message(data, 0)[0])
        raw, place = _message(data, HEADER_BYTES)
        brain = BrainParametersProto.FromString(raw)
    except Exception as error:  # protobuf's own, and _Cut
        raise UserError(f"replay.load=demo:{path} is no demonstration of ML-Agents, or is cut in its header") from error
    if meta.api_version not in API_VERSIONS:
        raise UserError(
            f"replay.load=demo:{path} has the format version {meta.api_version}: this program reads {API_VERSIONS}"
        )
    found = Demonstration(path, meta, brain, [])
    wanted = meta.number_steps or float("inf")  # 0 where the player was killed
    while len(found.pairs) < wanted and place < len(data):
        try:
            raw, place = _message(data, place)
            found.pairs.append(AgentInfoActionPairProto.FromString(raw))
        except Exception:
            found.cut = True
            break
    found.cut |= len(found.pairs) < (meta.number_steps or 0)
    if not found.pairs:
        raise UserError(f"replay.load=demo:{path} holds no whole record")
    return found


class DemonstrationWriter:
    """Writes one file; records are added in order, and `close` writes their number into the header."""

    def __init__(self, path: Path, brain: Any):
        """Raises OSError."""
        self.path = path
        self.meta = DemonstrationMetaProto(api_version=1, demonstration_name=path.stem)
        self._rewards = 0.0
        self._replacing = replacing(path)
        self._file: BinaryIO = self._replacing.__enter__().open("wb")
        self._file.write(bytes(HEADER_BYTES))
        self._write(brain)

    def add(self, pair: Any) -> None:
        """Adds an AgentInfoActionPairProto. Raises OSError."""
        self._write(pair)
        self.meta.number_steps += 1
        self.meta.number_episodes += pair.agent_info.done
        self._rewards += pair.agent_info.reward

    def discard(self) -> None:
        """Ends without a file."""
        self._file.close()
        with contextlib.suppress(_Discarded):
            self._replacing.__exit__(_Discarded, _Discarded(), None)

    def close(self) -> None:
        """Completes the file, which has its name from now on. Raises OSError."""
        self.meta.mean_reward = self._rewards / max(1, self.meta.number_episodes)
        self._file.seek(0)
        header = self.meta.SerializeToString()
        if len(header) >= HEADER_BYTES:  # a long name does not fit the reserved bytes
            self.meta.demonstration_name = ""
            header = self.meta.SerializeToString()
        self._file.write(_varint(len(header)) + header)
        self._file.close()
        self._replacing.__exit__(None, None, None)

    def _write(self, message: Any) -> None:
        data = message.SerializeToString()
        self._file.write(_varint(len(data)) + data)


class _Discarded(Exception):  # noqa: N818 - a state of the file
    """The file was given up."""


class _Cut(Exception):  # noqa: N818 - a state of the file
    """The data end inside a message."""


def _message(data: bytes, place: int) -> tuple[bytes, int]:
    """The message whose length stands at `place`, and the place behind it."""
    length = 0
    for i in range(MAX_VARINT_BYTES):
        if place + i >= len(data):
            raise _Cut
        byte = data[place + i]
        length |= (byte & ~VARINT_MORE) << (VARINT_BITS * i)
        if not byte & VARINT_MORE:
            begin = place + i + 1
            break
    else:
        raise _Cut
    if begin + length > len(data):
        raise _Cut
    return data[begin : begin + length], begin + length


def _varint(number: int) -> bytes:
    parts = []
    while number >= VARINT_MORE:
        parts.append(number % VARINT_MORE | VARINT_MORE)
        number //= VARINT_MORE
    return bytes([*parts, number])


def episodes(pairs: list[Any]) -> Iterator[tuple[list[Any], Any]]:
    """(records with an action whose outcome is known, the record that ends them) of each episode.

    The reward and the end of an action stand in the record after it. The last record of a file without an end closes
    its episode as a truncation.
    """
    current: list[Any] = []
    for number, pair in enumerate(pairs):
        if pair.agent_info.done or number == len(pairs) - 1:
            if current:
                yield current, pair
            current = []
        else:
            current.append(pair)
