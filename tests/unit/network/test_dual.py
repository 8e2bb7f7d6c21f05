"""IPv6 of the default bridge, and a way out that is not the bridge: who gets which address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from estiva.errors import Conflict, InvalidInput, Unavailable, Unsupported
from estiva.network import firewall, ipam, links, networks, pools
from estiva.network.default import dual, walls
from estiva.store.database import Database


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = tmp_path / "settings.json"
    monkeypatch.setenv("ESTIVA_SETTINGS", str(path))
    monkeypatch.setenv("ESTIVA_BRIDGE", "estiva-none")
    monkeypatch.setattr(ipam, "in_use", lambda socket, bridge: [])

    def write(**known: Any) -> None:
        path.write_text(json.dumps({key.replace("_", "-"): value for key, value in known.items()}))
        path.chmod(0o600)

    write()
    return write


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return Database(str(tmp_path / "estiva.db"))


def place(db: Database, container: str) -> Any:
    with db.write() as transaction:
        (found,) = networks.places_in(transaction, container, default=True)
    return found


def test_both_families_have_leases_of_their_own(say: Any, db: Database) -> None:
    say(
        bip="10.77.0.1/29",
        ipv6=True,
        fixed_cidr_v6="fd00:77::/125",
        default_gateway="10.77.0.2",
        default_gateway_v6="fd00:77::3",
    )
    one, two = place(db, "one"), place(db, "two")
    assert (one["address"], one["gateway"], one["own"]) == ("10.77.0.3", "10.77.0.2", "10.77.0.1")
    assert (one["address6"], one["prefix6"]) == ("fd00:77::2", 125)
    assert (one["gateway6"], one["own6"]) == ("fd00:77::3", "fd00:77::1")
    assert (two["address"], two["address6"]) == ("10.77.0.4", "fd00:77::4")
    again = place(db, "one")
    assert (again["address"], again["address6"]) == ("10.77.0.3", "fd00:77::2")
    assert ipam.leased(db) == {"one": "10.77.0.3", "two": "10.77.0.4"}
    assert sorted(ipam.held(db, "one")) == ["10.77.0.3", "fd00:77::2"]
    assert place(db, "three")["address6"] == "fd00:77::5" and place(db, "four")["address6"] == "fd00:77::6"
    with pytest.raises(Unavailable, match="network default .* has no free address"):
        place(db, "five")  # that of IPv4, of which two are taken
    with db.write() as transaction:
        ipam.release_in(transaction, "two")
    assert place(db, "five")["address6"] == "fd00:77::7"


def test_a_subnet_of_its_own_stays_and_gives_way_to_the_file_s(say: Any, db: Database) -> None:
    say(ipv6=True)
    first = place(db, "one")
    base = first["gateway6"].removesuffix("1")
    assert base.startswith("fd") and first["prefix6"] == 64 and first["address6"] == base + "2"
    assert place(db, "two")["address6"] == base + "3"
    say(ipv6=True, bip6="fd00:99::9/64")
    assert place(db, "three")["address6"] == base + "4"
    (told,) = dual.unheeded(db, {"ipv6": True, "bip6": "fd00:99::9/64"})
    assert f"keeps its subnet {base}/64 while containers run on it; fd00:99::/64" in told
    with db.write() as transaction:
        for name in ("one", "two", "three"):
            ipam.release_in(transaction, name)
    assert dual.unheeded(db, {"ipv6": True, "bip6": "fd00:99::9/64"}) == []
    after = place(db, "one")
    assert (after["address6"], after["gateway6"]) == ("fd00:99::1", "fd00:99::9")
    say()
    assert place(db, "one")["address6"] == "" and place(db, "four")["address6"] == ""


def test_a_subnet_that_is_used_is_named(say: Any, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    say(ipv6=True, fixed_cidr_v6="fd00:77::/64")
    used = [("fd00:77::/32 of interface wg0", pools.extent("fd00:77::/32"))]
    monkeypatch.setattr(pools, "in_use", lambda socket: used)
    with pytest.raises(
        Conflict, match="fd00:77::/64 of bridge estiva-none overlaps with .* of interface wg0"
    ):
        place(db, "one")
    assert db.read("SELECT * FROM leases") == []


@pytest.mark.parametrize("way", ["192.0.2.1", "10.201.0.0", "10.201.255.255"])
def test_a_way_out_that_is_not_in_the_subnet_is_refused(say: Any, db: Database, way: str) -> None:
    say(default_gateway=way)
    with pytest.raises(
        InvalidInput, match=f"default-gateway {way} is not the address of a host in 10.201.0.0/16"
    ):
        place(db, "one")
    say(default_gateway="10.201.0.1")  # the bridge itself
    assert "own" not in place(db, "one")


def test_a_kernel_without_ipv6_is_told(say: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Socket:
        def link(self, name: str) -> str:
            return name

    monkeypatch.setattr(links, "_SYSCTL", f"{tmp_path}/")
    with pytest.raises(Unsupported, match="this kernel has no IPv6"):
        links._make6(Socket(), "estiva-none", ("fd00::1", 64))  # type: ignore[arg-type]


def test_the_rules_of_ipv6_are_as_many_as_are_looked_for() -> None:
    words = (" drop\n", " accept\n", "dnat ip6", " masquerade\n", " jump ")
    assert sum(walls._RULES6.count(word) for word in words) == walls._RULES6_COUNT
    assert firewall.at("estiva0", "fd00::1") == firewall.table6("estiva0")
