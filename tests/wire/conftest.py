from __future__ import annotations

import pytest

from sac.wire import discovery


@pytest.fixture(params=["near", "tcp"])
def way(request, monkeypatch) -> str:
    """Clients of this process reach servers as neighbours, or as if on another machine; how an address begins."""
    if request.param == "tcp":
        monkeypatch.setattr(discovery, "_network", lambda: None)
    elif discovery._network() is None:
        pytest.skip("no abstract sockets")
    return {"near": "ipc://@", "tcp": "tcp://"}[request.param]
