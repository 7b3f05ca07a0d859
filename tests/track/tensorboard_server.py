"""What TensorBoard shows of a folder: asked of its server's own data providers, with either of its two loaders."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.data import server_ingester
from tensorboard.util import grpc_util

LOADERS = ("fast", "slow")  # --load_fast=true, which is the default where its binary is there, and false


@contextmanager
def tensorboard(folder: Path, loader: str) -> Iterator[Shown]:
    """A server that has read a folder once, and reads it again when it is told to (`again`)."""
    if loader == "slow":
        yield Slow(folder)
        return
    try:
        binary = server_ingester.get_server_binary()
    except server_ingester.NoDataServerError as error:
        pytest.skip(str(error))
    server = server_ingester.SubprocessServerDataIngester(
        binary, str(folder), reload_interval=1, channel_creds_type=grpc_util.ChannelCredsType.LOCAL,
        samples_per_plugin={"scalars": 0},
    )  # fmt: skip
    server.start()
    try:
        yield Shown(server.data_provider)
    finally:
        server._stdin_handle.close()  # it dies with it


class Shown:
    """Of the fast loader, which reads again by itself."""

    def __init__(self, provider):
        self._provider = provider

    def again(self) -> None:
        time.sleep(2.5)  # it looks every second

    def scalars(self) -> dict[str, list[tuple[int, float]]]:
        """Steps and values by tag."""
        deadline = time.monotonic() + 20
        while not (read := self._read()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return read

    def _read(self) -> dict[str, list[tuple[int, float]]]:
        asked = {"experiment_id": "", "plugin_name": "scalars"}
        runs = self._provider.read_scalars(RequestContext(), downsample=10_000, **asked)
        assert len(runs) <= 1
        return {
            tag: [(point.step, float(np.float32(point.value))) for point in series]
            for tags in runs.values()
            for tag, series in tags.items()
        }


class Slow(Shown):
    def __init__(self, folder: Path):
        self._multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={"scalars": 0})
        super().__init__(data_provider.MultiplexerDataProvider(self._multiplexer, str(folder)))
        self._folder = folder
        self.again()

    def again(self) -> None:
        self._multiplexer.AddRunsFromDirectory(str(self._folder))
        self._multiplexer.Reload()
