"""Where the registry server listens, and what it is the only one to serve."""

from __future__ import annotations

import pytest

from estiva.errors import Conflict, InvalidInput
from estiva.registry.server import server as servers
from registry_support import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as running:
        yield running


def test_an_address_in_use_is_a_conflict(server, tmp_path):
    with pytest.raises(Conflict, match=f"{server.address} is in use"):
        servers.serve(server.address, str(tmp_path))


def test_a_directory_in_use_is_a_conflict(server):
    with pytest.raises(Conflict, match="another registry serves"):
        servers.serve("127.0.0.1:0", str(server.root))


@pytest.mark.parametrize("listen", ["", "5000", "x:y", "1.2.3.4:70000", "::1:5000"])
def test_bad_addresses(tmp_path, listen):
    with pytest.raises(InvalidInput):
        servers.serve(listen, str(tmp_path))
