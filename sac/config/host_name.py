"""Which of many a machine is, by its name: the third pod of the StatefulSet `a` is called `a-2`."""

from __future__ import annotations

import re
import socket

from sac.errors import UserError


def host_number() -> int:
    """The index at the end of this host's name, plus one. Raises UserError for a name that ends otherwise."""
    name = socket.gethostname().split(".")[0]
    index = re.search(r"-(\d+)$", name)
    if index is None:
        raise UserError(
            f"the host name {name} does not end in an index, as a StatefulSet's <name>-0, <name>-1 ... do: "
            "give each actor a net.number of its own, 1, 2 ..."
        )
    return int(index[1]) + 1
