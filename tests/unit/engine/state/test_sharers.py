"""Whether the network namespace of a container that has ended is kept by others."""

import json
import types

import pytest

from estiva.engine.state import runstate
from estiva.engine.state.net import sharers
from estiva.network import links
from estiva.runtime import state
from estiva.store import containers

OWN, OTHER = "a" * 64, "b" * 64
PLACES = [{"interface": "eth0", "mac": "02:e5:0a:00:00:02", "driver": "bridge"}]


class Inside:
    def __init__(self, address):
        self.there = [types.SimpleNamespace(name="eth0", address=bytes.fromhex(address.replace(":", "")))]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def links(self):
        return self.there


@pytest.mark.parametrize(
    ("mode", "address", "deleted"),
    [
        (f"container:{OWN}", "02:e5:0a:00:00:02", 1),
        ("container:gone", "02:e5:0a:00:00:02", 1),  # through one that has ended
        ("container:gone", "02:e5:0a:00:00:03", 0),  # in the namespace of quite another
        ("container:runs", "02:e5:0a:00:00:02", 0),
        ("ns:/run/netns/x", "02:e5:0a:00:00:02", 1),
        ("ns:/run/netns/x", "02:e5:0a:00:00:03", 0),
        ("bridge", "02:e5:0a:00:00:02", 0),
    ],
)
def test_only_where_another_is_in_there(monkeypatch, mode, address, deleted):
    runs = {OWN: {"network": {"places": PLACES}}, OTHER: {"pid": 7, "start_time": 8}}
    calls = []
    monkeypatch.setattr(runstate, "read", lambda where, container_id: runs[container_id])
    monkeypatch.setattr(containers, "status", lambda db, name: "running" if name == "runs" else "")
    monkeypatch.setattr(links, "enter", lambda pid, ipv6: Inside(address))
    monkeypatch.setattr(links, "delete_veths", calls.append)
    monkeypatch.setattr(state, "alive", lambda pid, start: (pid, start) == (7, 8))
    sharers.unplug(None, None, OWN, [(OTHER, json.dumps({"HostConfig": {"NetworkMode": mode}}))])
    assert calls == [OWN] * deleted
