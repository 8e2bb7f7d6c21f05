"""Leases: which address is next, what clashes, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from estiva.errors import Conflict, InvalidInput, Unavailable
from estiva.network import ipam
from estiva.network.ipam import Subnet
from estiva.store.database import Database

BRIDGE = "estiva-none"  # no such interface: the subnet is chosen anew, or kept


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(ipam, "in_use", lambda socket, bridge: [])
    return Database(str(tmp_path / "estiva.db"))


def reserve(db: Database, container: str, address: str | None = None) -> str:
    with db.write() as transaction:
        return ipam.reserve_in(transaction, container, bridge=BRIDGE, address=address)


def release(db: Database, container: str) -> None:
    with db.write() as transaction:
        ipam.release_in(transaction, container)


def test_network_and_gateway_are_never_given(db: Database) -> None:
    base = ipam.CANDIDATES[0].removesuffix(".0.0")
    assert reserve(db, "a") == f"{base}.0.2"
    assert reserve(db, "b") == f"{base}.0.3"


def test_a_container_keeps_its_lease(db: Database) -> None:
    assert reserve(db, "a") == reserve(db, "a")
    assert len(ipam.held(db, "a")) == 1


def test_a_released_address_rests(db: Database) -> None:
    first = reserve(db, "a")
    release(db, "a")
    assert ipam.held(db, "a") == []
    assert reserve(db, "b") != first


def test_wraps_around_past_broadcast_and_over_taken_ones(db: Database) -> None:
    base = ipam.CANDIDATES[0].removesuffix(".0.0")
    reserve(db, "a")
    with db.write() as transaction:
        transaction.execute("UPDATE meta SET value = '65534' WHERE key = 'network.default.next'")
    assert reserve(db, "b") == f"{base}.255.254"
    assert reserve(db, "c") == f"{base}.0.3"


def test_full_network(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipam.settings, "read", lambda: {"bip": "10.77.0.1/29", "fixed-cidr": "10.77.0.0/30"})
    monkeypatch.setattr(ipam, "_vacate", lambda *_: None)
    assert {reserve(db, name) for name in "ab"} == {"10.77.0.2", "10.77.0.3"}
    with pytest.raises(Unavailable, match="no free address"):
        reserve(db, "d")
    release(db, "b")
    assert reserve(db, "d") == "10.77.0.3"


def test_fixed_address(db: Database) -> None:
    base = ipam.CANDIDATES[0].removesuffix(".0.0")
    assert reserve(db, "a", f"{base}.9.9") == f"{base}.9.9"
    assert reserve(db, "a", f"{base}.9.10") == f"{base}.9.10"
    assert ipam.held(db, "a") == [f"{base}.9.10"]
    with pytest.raises(Conflict, match="already in use"):
        reserve(db, "b", f"{base}.9.10")
    for wrong in (
        f"{base}.0.1",
        f"{base}.0.0",
        f"{base}.255.255",
        "9.9.9.9",
        "x",
        "10.1",
        "::1",
        "010.1.1.1",
    ):
        with pytest.raises(InvalidInput):
            reserve(db, "c", wrong)


def test_a_rolled_back_transaction_leases_nothing(db: Database) -> None:
    with pytest.raises(RuntimeError), db.write() as transaction:
        ipam.reserve_in(transaction, "a", bridge=BRIDGE)
        raise RuntimeError
    assert ipam.held(db, "a") == []


@pytest.mark.parametrize(
    ("used", "clash"),
    [
        (("10.201.0.0", 16), True),
        (("10.201.77.1", 24), True),
        (("10.201.0.9", 32), True),
        (("10.0.0.0", 8), True),
        (("10.202.0.0", 16), False),
        (("192.168.1.1", 24), False),
    ],
)
def test_clashes(used: tuple[str, int], clash: bool) -> None:
    assert ipam.clashes(Subnet("10.201.0.0"), [(ipam.number(used[0]), used[1])]) is clash


def test_no_subnet_left(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = [(ipam.number("10.0.0.0"), 8), (ipam.number("172.16.0.0"), 12)]
    monkeypatch.setattr(ipam, "in_use", lambda socket, bridge: everything)
    with pytest.raises(Unavailable, match="no free subnet"):
        reserve(db, "a")


def test_another_subnet_after_a_clash_starts_afresh(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first = reserve(db, "a")
    monkeypatch.setattr(ipam, "in_use", lambda socket, bridge: [(ipam.number(first), 24)])
    second = reserve(db, "b")
    assert Subnet(second).base != Subnet(first).base
    assert ipam.held(db, "a") == []
