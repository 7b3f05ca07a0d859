"""CURVE keys: who has none of ours cannot even say hello. `python -m sac.wire.keys <folder>` makes them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from sac.errors import UserError

SERVER, CLIENT = "server", "client"


@dataclass(frozen=True)
class Keys:
    """The pairs of one cell: servers (replay, learner, evolver) share one, clients the other."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Keys:
        """Raises UserError where some lie already."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (SERVER, CLIENT):
            if (folder / f"{name}.key_secret").exists():
                raise UserError(f"{folder} holds keys already")
        for name in (SERVER, CLIENT):
            _, secret = zmq.auth.create_certificates(str(folder), name)
            Path(secret).chmod(0o600)
        return cls(folder)

    def _pair(self, name: str, secret: bool) -> tuple[bytes, bytes | None]:
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
