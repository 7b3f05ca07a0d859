"""What the logs of Weights & Biases hold that an offline run leaves on disk, read with wandb's own messages."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

BLOCK, HEAD = 32768, 7  # the log is LevelDB's: blocks, and records (crc, length, kind) that may span them


class Held(NamedTuple):
    """One log: the run's record, its config, rows of history, summary, exit code (None: nobody ended it)."""

    run: Any
    config: dict
    history: list[dict]
    summary: dict
    code: int | None
    metrics: list
    artifacts: list


def logs(run_folder: Path) -> list[Path]:
    """Of one run folder, oldest first: every session of a run begins a new one."""
    return sorted(p for p in run_folder.glob("wandb/*run-*/*.wandb") if not p.parent.is_symlink())


def held(run_folder: Path) -> Held:
    """Of a run with one log."""
    (path,) = logs(run_folder)
    return read(path)


def read(path: Path) -> Held:
    found = Held(None, {}, [], {}, None, [], [])
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found = found._replace(run=record.run)
            found.config.update(_pairs(record.run.config.update))
        elif kind == "config":
            found.config.update(_pairs(record.config.update))
        elif kind == "history":
            found.history.append(_pairs(record.history.item))
        elif kind == "summary":
            found.summary.update(_pairs(record.summary.update))
        elif kind == "exit":
            found = found._replace(code=record.exit.exit_code)
        elif kind == "metric":
            found.metrics.append(record.metric)
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
    return found


def records(path: Path) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    data, pos, part = path.read_bytes(), HEAD, b""
    assert data[:4] == b":W&B"
    while pos + HEAD <= len(data):
        if BLOCK - pos % BLOCK < HEAD:
            pos += BLOCK - pos % BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", data[pos : pos + HEAD])
        chunk, pos = data[pos + HEAD : pos + HEAD + size], pos + HEAD + size
        part = chunk if kind in (1, 2) else part + chunk
        if kind in (1, 4):
            yield Record.FromString(part)


def _pairs(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
