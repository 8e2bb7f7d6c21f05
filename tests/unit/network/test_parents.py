"""Vlans that networks are of: their names, the request to the kernel, and whose they are."""

import sys
from types import SimpleNamespace

import pytest

from estiva.engine.networks import remove
from estiva.errors import InvalidInput
from estiva.linux.net import families, netlink
from estiva.network import bridges, networks, parents
from estiva.paths import Paths
from estiva.store.database import Database


def test_the_name_of_a_vlan():
    assert parents.split("eth0.10") == ("eth0", 10)
    assert parents.split("eth0.10.20") == ("eth0.10", 20)
    assert parents.split("eth0") == ("", 0)
    for name in ("eth0.", "eth0.0", "eth0.4095", "eth0.x", ".5", "eth0.-1", "eth0.\u0661"):
        with pytest.raises(InvalidInput):
            parents.split(name)


def test_the_request_for_a_vlan():
    request = families.add_vlan("eth0.10", 7, 10)
    attributes = dict(netlink.attributes(request.body, 16))
    assert attributes[netlink.IFLA_IFNAME].rstrip(b"\0") == b"eth0.10"
    assert attributes[families.IFLA_LINK] == (7).to_bytes(4, sys.byteorder)
    info = {kind & 0x3FFF: value for kind, value in netlink.attributes(attributes[netlink.IFLA_LINKINFO])}
    assert info[netlink.IFLA_INFO_KIND].rstrip(b"\0") == b"vlan"
    data = dict(netlink.attributes(info[netlink.IFLA_INFO_DATA]))
    assert data == {families.IFLA_VLAN_ID: (10).to_bytes(2, sys.byteorder)}  # linux/if_link.h: a u16


def test_a_vlan_whose_network_was_removed_is_known_until_it_has_gone(tmp_path, monkeypatch):
    """Who removed the network was killed before the vlan went; this machine may have no vlans."""
    there = ["eth0.10"]

    class Socket:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def link(self, name):
            return SimpleNamespace(kind="vlan") if name in there else None

    monkeypatch.setattr(parents.netlink, "Socket", Socket)
    monkeypatch.setattr(parents.links, "delete_link", there.remove)
    monkeypatch.setattr(bridges, "_listed", lambda _: [])
    paths = Paths(str(tmp_path / "root"), str(tmp_path / "run"))
    paths.prepare()
    db = Database(paths.database)
    record = dict.fromkeys(("Options", "IPAMOptions", "Labels"), {})
    record |= dict.fromkeys(("Adopted", "Internal", "EnableIPv6", "Attachable"), False)
    record |= {"Subnets": [], "Bridge": "", "Vlan": True, "Options": {"parent": "eth0.10"}}

    def made(number):
        with db.write() as transaction:
            networks.add(transaction, number * 64, "lab", "macvlan", record)
        return networks.get(db, "lab")

    def dropped(network):
        with db.write() as transaction:
            remove.drop(transaction, network)

    dropped(made("1"))
    # a network that is made of it meanwhile takes it over
    assert parents.is_ours(db, "eth0.10")
    second = made("2")
    assert bridges.sweep(paths, db, tuple) == ["what was left of network lab, which was removed"]
    assert there == ["eth0.10"]
    dropped(second)
    assert bridges.sweep(paths, db, tuple) == ["what was left of network lab, which was removed"]
    assert there == [] and not parents.is_ours(db, "eth0.10")
    assert bridges.sweep(paths, db, tuple) == []


@pytest.mark.parametrize("made, others, kind, gone", [
    (True, [], "vlan", ["eth0.10"]),
    (True, ["eth0.10"], "vlan", []),  # another is of it too
    (True, ["eth1"], "vlan", ["eth0.10"]),
    (True, [], "veth", []),  # somebody has put something else there
    (False, [], "vlan", []),  # it was there before
])  # fmt: skip
def test_a_vlan_goes_with_the_last_network_that_it_was_made_for(monkeypatch, made, others, kind, gone):
    class Socket:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def link(self, name):
            return SimpleNamespace(kind=kind) if name == "eth0.10" else None

    def network(parent, **record):
        return SimpleNamespace(id="f" * 64, record=record, option=lambda key: {"parent": parent}[key])

    removed = []
    monkeypatch.setattr(parents.netlink, "Socket", Socket)
    monkeypatch.setattr(parents.links, "delete_link", removed.append)
    own = network("eth0.10", **({"Vlan": True} if made else {}))
    parents.remove(own, [network(other) for other in others])
    assert removed == gone
