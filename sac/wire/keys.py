"""CURVE keys of a cell: without them a process cannot connect. `python -m sac.wire.keys <folder>` makes them."""

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
GROUP_OR_OTHERS, OTHERS = 0o077, 0o007  # mode bits of users who must neither read nor change a secret
CHANGE = 0o022  # mode bits of users who must not change a public key


@dataclass(frozen=True)
class Keys:
    """The two key pairs of one cell: its servers (replay, learner, evolver) share one, its clients the other."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Keys:
        """Makes keys that other users cannot read. Raises UserError where keys exist, or others can read the folder."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_private(folder, GROUP_OR_OTHERS)
        for name in (SERVER, CLIENT):
            if (folder / f"{name}.key_secret").exists():
                raise UserError(f"{folder} holds keys already")
        with _private_files():
            for name in (SERVER, CLIENT):
                zmq.auth.create_certificates(str(folder), name)
        return cls(folder)

    def check_private(self) -> None:
        """Raises UserError where other users can read the folder or a secret; missing files pass.

        Everybody may read a public key, but a user who can change it can let himself in.
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

    def protect_server(self, socket: zmq.Socket[bytes]) -> ThreadAuthenticator:
        """Lets only clients with the cell's key connect. The caller has to stop the authenticator."""
        socket.curve_publickey, socket.curve_secretkey = self._pair(SERVER, secret=True)
        socket.curve_server = True
        allowed, _ = self._pair(CLIENT, secret=False)
        authenticator = ThreadAuthenticator(socket.context)
        authenticator.start()
        authenticator.configure_curve_callback(credentials_provider=_OneKey(allowed))
        return authenticator

    def protect_client(self, socket: zmq.Socket[bytes]) -> None:
        """Gives a socket the client's key pair, and the public key that its server must have."""
        socket.curve_publickey, socket.curve_secretkey = self._pair(CLIENT, secret=True)
        socket.curve_serverkey, _ = self._pair(SERVER, secret=False)


class _OneKey:
    """Accepts one public key."""

    def __init__(self, allowed: bytes):
        self._allowed = allowed

    def callback(self, domain: str, key: bytes) -> bool:
        return zmq.utils.z85.encode(key) == self._allowed if len(key) == 32 else key == self._allowed


@contextmanager
def _private_files() -> Iterator[None]:
    """Files that are made meanwhile have the mode 0600 from the start (Windows has no such modes)."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _check_private(path: Path, forbidden: int) -> None:
    """Raises UserError where users other than the owner have one of the `forbidden` mode bits.

    On a read-only file system, such as a mounted Secret of Kubernetes, a folder may have any mode and a group may read
    the files: whoever mounted it has decided that. Windows has no such modes.
    """
    if os.name != "posix":
        return
    try:
        status, mounted = path.stat(), os.statvfs(path)
    except OSError:  # missing, or not accessible: reading it will fail
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
    """Raises UserError for an interface that other machines can reach, unless there are keys."""
    if keys is None and not _is_loopback(host):
        raise UserError(
            f"net.bind={host} can be reached from other machines, so it needs keys: make them with "
            "`python -m sac.wire.keys <folder>`, give every role a copy and set net.keys=<folder>; "
            "or stay on this machine with net.bind=127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a host name, or the name of an interface
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
