"""F8: the replay and its clients on two machines (network namespaces) whose connection is cut for a while."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from sac.wire.keys import Keys
from tests.figures import figure
from tests.wire.wire_kit import Process, start, stored_tags, wait_for

ADDRESS, OTHER = "10.213.77.1", "10.213.77.2"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


class Networks:
    """Two namespaces and a cable."""

    def __init__(self):
        self.near, self.far, self._cable = (f"sac{x}{os.getpid()}" for x in "nfc")

    def __enter__(self) -> Networks:
        try:
            for name in (self.near, self.far):
                ip("netns", "add", name)
            ip("link", "add", f"{self._cable}a", "netns", self.near, "type", "veth", "peer", f"{self._cable}b",
               "netns", self.far)  # fmt: skip
            for name, end, address in ((self.near, "a", ADDRESS), (self.far, "b", OTHER)):
                ip("-n", name, "address", "add", f"{address}/24", "dev", self._cable + end)
                ip("-n", name, "link", "set", self._cable + end, "up")
                ip("-n", name, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for name in (self.near, self.far):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20)

    def cable(self, state: str) -> float:
        """Sets the cable up or down, and returns the time."""
        ip("-n", self.near, "link", "set", f"{self._cable}a", state)
        return time.monotonic()


def inside(name: str) -> list[str]:
    return ["ip", "netns", "exec", name]


@pytest.fixture(scope="module")
def networks():
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and `ip` (apt-get install iproute2)")
    try:
        with Networks() as made:
            yield made
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode()}")


class ClientProcess:
    """A client's process and what it has printed."""

    def __init__(self, network: str, role: str, folder: Path, keys: Path | str):
        self.said: list[dict] = []
        self._process = start("play", role, str(folder), str(keys), prefix=inside(network))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for line in self._process.stdout:
            self.said.append(json.loads(line))

    def first(self, what: str, since: float, seconds: float = 20.0) -> dict:
        """The first report of this kind after the time `since`."""
        found = []

        def look():
            found[:] = [said for said in self.said if what in said and said["at"] > since]
            return found

        wait_for(look, seconds)
        return found[0]

    def __enter__(self) -> ClientProcess:
        return self

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.wait(10)
        self._thread.join(10)


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    return Keys.make(tmp_path_factory.mktemp("keys") / "ours").folder


@pytest.mark.slow
def test_a_partition_is_noticed_and_healed_and_costs_no_row(tmp_path, networks, keys, capsys):
    with contextlib.ExitStack() as stack:
        process = Process(tmp_path, host=ADDRESS, keys=keys, prefix=inside(networks.near))
        stack.enter_context(process)
        players = {
            role: stack.enter_context(ClientProcess(networks.far, role, tmp_path, keys))
            for role in ("actor", "learner")
        }
        for player in players.values():
            player.first("went", 0.0)
        down = networks.cable("down")
        noticed = {role: player.first("lost", down, 8)["at"] - down for role, player in players.items()}
        time.sleep(0.3)
        up = networks.cable("up")
        resumed = {role: player.first("went", up, 15)["at"] - up for role, player in players.items()}
        with capsys.disabled():
            print()
            for role in players:
                figure("F8", f"{role} and replay cut apart: noticed after", noticed[role], "s", 4)
                figure("F8", f"{role} and replay joined: resumed after", resumed[role], "s", 3)
        for player in players.values():
            player.end()
        count = players["actor"].first("rows", up)
        assert count["drained"]
    assert stored_tags(tmp_path, 1) == list(range(count["rows"]))


def test_over_the_cable_nobody_without_our_keys_comes_in(tmp_path, networks, keys):
    others = Keys.make(tmp_path / "others").folder
    with Process(tmp_path, host=ADDRESS, keys=keys, prefix=inside(networks.near)):
        for held in ("-", others):
            with ClientProcess(networks.far, "actor", tmp_path, held) as player:
                said = player.first("refused", 0.0)["refused"]
                assert f"the replay at tcp://{ADDRESS}:" in said and "refuses our keys" in said and "net.keys=" in said
