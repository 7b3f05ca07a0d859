"""Keys that others can read or change are none: refused before anything is said, with the command that helps."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from sac.errors import UserError
from sac.roles.cell_config import make_keys
from sac.wire.discovery import Records
from sac.wire.keys import Keys
from sac.wire.messages import control
from sac.wire.server import Server
from tests.wire.wire_kit import ROOT, WORLD, Served, client, wait_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no modes for group and others")
FILES = ("server.key", "server.key_secret", "client.key", "client.key_secret")


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def keys(tmp_path) -> Keys:
    return Keys.make(tmp_path / "keys")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_keys_are_made_for_their_owner_alone(tmp_path, umask):
    """Under any umask, which is as it was afterwards."""
    before = os.umask(umask)
    try:
        folder = Keys.make(tmp_path / "keys").folder
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert mode(folder) == 0o700 and sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert {mode(path) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("name", "bits", "cure"),
    [
        (".", 0o755, "700"), (".", 0o750, "700"), (".", 0o711, "700"), (".", 0o770, "700"),
        ("server.key_secret", 0o644, "600"), ("server.key_secret", 0o640, "600"), ("server.key_secret", 0o602, "600"),
        ("client.key_secret", 0o604, "600"), ("client.key_secret", 0o620, "600"),
        ("server.key", 0o666, "600"), ("client.key", 0o664, "600"),
    ],
)  # fmt: skip
def test_keys_that_others_can_read_or_change_are_refused(tmp_path, keys, name, bits, cure):
    """By a server and by a client; what the message says to type puts it right."""
    path = keys.folder / name
    path.chmod(bits)
    can = "change" if name.endswith(".key") else "(read or )?change"
    words = rf"others can {can} {path} \(mode {bits:04o}\).*: chmod {cure} {path} ;"
    with pytest.raises(UserError, match=words):
        Server("replay", control(), Records(tmp_path, ""), None, keys=keys)
    line = client(Records(tmp_path / "net", ""), keys=keys)
    line._directory.write("replay", {"address": "tcp://127.0.0.1:9"})
    with pytest.raises(UserError, match=words):
        wait_for(lambda: False, 10, lambda: line.pump(0.01))
    line.close()
    subprocess.run(["chmod", cure, path], check=True)
    with Served(WORLD, tmp_path, keys=keys) as served:
        line = client(served.directory, keys=keys)
        wait_for(lambda: line.connected, meanwhile=lambda: line.pump(0.01))
        line.close()


def test_public_keys_may_be_read_by_everybody(tmp_path, keys):
    for name in ("server.key", "client.key"):
        (keys.folder / name).chmod(0o644)
    keys.check_private()


def test_a_role_says_so_before_it_begins(keys):
    class Config:
        class net:  # noqa: N801 - a section
            keys = None

    assert make_keys(Config) is None
    Config.net.keys = str(keys.folder)
    assert make_keys(Config) == keys
    (keys.folder / "client.key_secret").chmod(0o644)
    with pytest.raises(UserError, match=r"client\.key_secret \(mode 0644\)"):
        make_keys(Config)


def test_no_keys_are_made_where_others_can_look_in(tmp_path):
    folder = tmp_path / "every body"
    folder.mkdir()
    folder.chmod(0o755)
    words = [sys.executable, "-m", "sac.wire.keys", str(folder)]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and f"chmod 700 '{folder}'" in run.stderr and "Traceback" not in run.stderr
    assert not list(folder.iterdir())


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0 or sys.platform != "linux", reason="mounts need root")
def test_a_volume_that_is_mounted_read_only_is_taken_as_it_is(tmp_path):
    """As a Secret of Kubernetes: the mount's folder is open to all, and a group may read the files, but nobody else."""
    if subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=False).returncode:
        pytest.skip("no mounts here")
    try:
        made = Keys.make(tmp_path / "keys")
        for name in FILES:
            (made.folder / name).chmod(0o440)
        made.folder.chmod(0o1777)
        with pytest.raises(UserError, match="mode 1777"):
            made.check_private()
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        made.check_private()
        subprocess.run(["mount", "-o", "remount,rw", tmp_path], check=True)
        (made.folder / "client.key_secret").chmod(0o444)
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        with pytest.raises(UserError, match=r"client\.key_secret \(mode 0444\)"):
            made.check_private()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
