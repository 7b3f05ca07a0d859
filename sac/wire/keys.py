"""CURVE keys: who has none of ours cannot even say hello. `python -m sac.wire.keys <folder>` makes them."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from sac.errors import UserError

SERVER, CLIENT = "server", "client"
GROUP_OR_OTHERS, OTHERS = 0o077, 0o007  # mode bits of those who must not read or change what is ours
CHANGE = 0o022  # ... of those who must not change it


@dataclass(frozen=True)
class Keys:
    """The pairs of one cell: servers (replay, learner, evolver) share one, clients the other."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Keys:
        """Nobody else can read them. Raises UserError where some lie already, or where others can look in."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_private(folder, GROUP_OR_OTHERS)
        for name in (SERVER, CLIENT):
            if (folder / f"{name}.key_secret").exists():
                raise UserError(f"{folder} holds keys already")
        with _only_for_us():
            for name in (SERVER, CLIENT):
                zmq.auth.create_certificates(str(folder), name)
        return cls(folder)

    def check_private(self) -> None:
        """Raises UserError where others can read the folder or a secret; what is missing passes.

        A public key may be read by everybody, but not changed: whoever changes one lets himself in.
        """
        _check_private(self.folder, GROUP_OR_OTHERS)
        for name in (SERVER, CLIENT):
            _check_private(self.folder / f"{name}.key_secret", GROUP_OR_OTHERS)
            _check_private(self.folder / f"{name}.key", CHANGE)

    def _pair(self, name: str, secret: bool) -> tuple[bytes, bytes | None]:
        self.check_private()
        path = self.folder / f"{name}.key{'_secret' * secret}"
        try:
            return zmq.auth.load_certificate(path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"net.keys={self.folder}: {path.name} cannot be read ({error}); "
                f"make keys with: python -m sac.wire.keys {self.folder}"
            ) from error

    def protect_server(self, socket: zmq.Socket) -> ThreadAuthenticator:
        """Only clients with the cell's key come through. The caller stops what is returned."""
        socket.curve_publickey, socket.curve_secretkey = self._pair(SERVER, secret=True)
        socket.curve_server = True
        allowed, _ = self._pair(CLIENT, secret=False)
        authenticator = ThreadAuthenticator(socket.context)
        authenticator.start()
        authenticator.configure_curve_callback(credentials_provider=_Only(allowed))
        return authenticator

    def protect_client(self, socket: zmq.Socket) -> None:
        socket.curve_publickey, socket.curve_secretkey = self._pair(CLIENT, secret=True)
        socket.curve_serverkey, _ = self._pair(SERVER, secret=False)


class _Only:
    """Lets one key in."""

    def __init__(self, allowed: bytes):
        self._allowed = allowed

    def callback(self, domain: str, key: bytes) -> bool:
        return zmq.utils.z85.encode(key) == self._allowed if len(key) == 32 else key == self._allowed


@contextmanager
def _only_for_us() -> Iterator[None]:
    """Files that are made meanwhile have the mode 0600 from their first moment (Windows has no such modes)."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _check_private(path: Path, forbidden: int) -> None:
    """Raises UserError where others than the owner have one of the `forbidden` mode bits.

    A file system that is mounted read-only, as a Secret of Kubernetes is, belongs to whoever mounted it: its folder may
    have any mode, and a group may read its files. Windows has no such modes.
    """
    if os.name != "posix":
        return
    try:
        status, mounted = path.stat(), os.statvfs(path)
    except OSError:  # not there, or not ours to look at: whoever reads it will hear
        return
    mode, is_folder = stat.S_IMODE(status.st_mode), stat.S_ISDIR(status.st_mode)
    if mounted.f_flag & os.ST_RDONLY:
        forbidden &= 0 if is_folder else OTHERS
    if mode & forbidden:
        can = "read or change" if mode & forbidden & ~CHANGE else "change"
        private = "700" if is_folder else "600"
        raise UserError(
            f"net.keys: others can {can} {path} (mode {mode:04o}), and whoever has these keys can pose as this cell: "
            f"chmod {private} {shlex.quote(str(path))} ; where others may have read them already, make new ones"
        )


def check_bind(host: str, keys: Keys | None) -> None:
    """Raises UserError for an interface that others can reach while nothing protects it."""
    if keys is None and not _is_loopback(host):
        raise UserError(
            f"net.bind={host} can be reached from other machines, so it needs keys: make them with "
            "`python -m sac.wire.keys <folder>`, give every role a copy and set net.keys=<folder>; "
            "or stay on this machine with net.bind=127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name, or an interface's
        return host == "localhost"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m sac.wire.keys <folder>\n")
        return 2
    try:
        keys = Keys.make(Path(arguments[0]))
    except (UserError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    print(f"made {SERVER} and client keys in {keys.folder}: replay, learner and evolver need all of them;")
    print("actors need client.key_secret and server.key only. Every role: net.keys=<its copy of the folder>")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
