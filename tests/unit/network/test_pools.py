"""Subnets of networks of one's own: what may be asked for, which are free, who gets which address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiva.errors import Conflict, EstivaError, InvalidInput, Unavailable
from estiva.network import pools
from estiva.store.database import Database

NET = "n" * 64


@pytest.fixture
def db(tmp_path):
    made = Database(str(tmp_path / "db"))
    yield made
    made.close()


def take(db, pool, container, wished=""):
    with db.write() as transaction:
        return pools.take(transaction, NET, "lab", pool, container, wished)


def release(db, container):
    with db.write() as transaction:
        transaction.execute("DELETE FROM leases WHERE container = ?", (container,))


def test_addresses_go_round_and_skip_what_is_reserved(db):
    subnet = {"Subnet": "10.9.0.0/29", "Gateway": "10.9.0.1", "AuxiliaryAddresses": {"router": "10.9.0.3"}}
    pool = pools.Pool(subnet)
    assert [take(db, pool, name) for name in "abcd"] == ["10.9.0.2", "10.9.0.4", "10.9.0.5", "10.9.0.6"]
    with pytest.raises(Unavailable, match="network lab .10.9.0.0/29. has no free address"):
        take(db, pool, "e")
    release(db, "b")
    assert take(db, pool, "e") == "10.9.0.4"


def test_a_released_address_rests(db):
    pool = pools.Pool({"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.1"})
    assert take(db, pool, "a") == "10.9.0.2"
    release(db, "a")
    assert take(db, pool, "b") == "10.9.0.3"


def test_a_range_is_where_addresses_are_from(db):
    pool = pools.Pool({"Subnet": "10.9.0.0/16", "Gateway": "10.9.0.1", "IPRange": "10.9.5.0/30"})
    got = [take(db, pool, name) for name in "abcd"]
    assert got == ["10.9.5.0", "10.9.5.1", "10.9.5.2", "10.9.5.3"]
    assert take(db, pool, "x", "10.9.77.7") == "10.9.77.7"  # one that is asked for may be elsewhere


def test_a_wished_address_is_had_once_and_the_error_says_by_whom(db):
    pool = pools.Pool({"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.1"})
    assert take(db, pool, "a", "10.9.0.9") == "10.9.0.9"
    assert take(db, pool, "a", "10.9.0.9") == "10.9.0.9"
    with pytest.raises(Conflict, match="address 10.9.0.9 of network lab is in use by container a"):
        take(db, pool, "b", "10.9.0.9")
    for address, words in (
        ("10.9.1.1", "is not of subnet 10.9.0.0/24"),
        ("10.9.0.1", "is reserved"),
        ("10.9.0.0", "is reserved"),
        ("10.9.0.255", "is reserved"),
        ("fd00::1", "is not of subnet"),
        ("10.9.0", "is not an IP address"),
    ):
        with pytest.raises(InvalidInput, match=words):
            take(db, pool, "b", address)


def test_addresses_of_ipv6(db):
    pool = pools.Pool({"Subnet": "fd00:1::/64", "Gateway": "fd00:1::1"})
    assert [take(db, pool, name) for name in "ab"] == ["fd00:1::2", "fd00:1::3"]
    assert take(db, pool, "c", "fd00:1:0:0::99") == "fd00:1::99"


@pytest.mark.parametrize(
    ("subnet", "words"),
    [
        ({"Subnet": "10.9.0.5/24"}, "invalid subnet 10.9.0.5/24: it should be 10.9.0.0/24"),
        ({"Subnet": "10.9.0.0"}, "invalid subnet: '10.9.0.0'"),
        ({"Subnet": "10.9.0.0/33"}, "invalid subnet"),
        ({"Subnet": "10.9.0.0/-1"}, "invalid subnet"),
        ({"Subnet": "10.9.0.0/31"}, "no room"),
        ({"Subnet": "x/24"}, "invalid subnet"),
        ({"Subnet": "10.9.0.0/24", "Gateway": "10.8.0.1"}, "gateway 10.8.0.1 is not within subnet"),
        ({"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.0"}, "the network's or the broadcast address"),
        ({"Subnet": "10.9.0.0/24", "IPRange": "10.8.0.0/25"}, "is not within subnet"),
        ({"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.0/16"}, "ip-range 10.9.0.0/16 is not within|should be"),
        ({"Subnet": "10.9.0.0/24", "AuxiliaryAddresses": {"a": "10.9.9.9"}}, "auxiliary address a 10.9.9.9"),
        (
            {"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.7", "AuxiliaryAddresses": {"a": "10.9.0.7"}},
            "is an auxiliary address too",
        ),
    ],
)
def test_subnets_that_there_can_not_be(subnet, words):
    with pytest.raises(EstivaError, match=words):
        pools.complete(subnet)


def test_the_gateway_is_the_first_address_that_is_free():
    for subnet, gateway in (
        ({"Subnet": "10.9.0.0/24"}, "10.9.0.1"),
        ({"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.128/25"}, "10.9.0.128"),
        ({"Subnet": "10.9.0.0/24", "AuxiliaryAddresses": {"a": "10.9.0.1"}}, "10.9.0.2"),
        ({"Subnet": "fd00::/64"}, "fd00::1"),
    ):
        pools.complete(subnet)
        assert subnet["Gateway"] == gateway


def test_the_default_pools_are_docker_s_and_what_is_in_use_is_left_out():
    used = []
    got = []
    for _ in range(17):
        chosen = pools.choose(used)
        got.append(chosen)
        used.append(("", pools.extent(chosen)))
    assert got[:2] == ["172.17.0.0/16", "172.18.0.0/16"]
    assert got[14:] == ["172.31.0.0/16", "192.168.0.0/20", "192.168.16.0/20"]
    route = [("", pools.extent("172.16.0.0/12"))]
    assert pools.choose(route) == "192.168.0.0/20"
    with pytest.raises(Unavailable, match="all predefined address pools are in use"):
        pools.choose([("", pools.extent("128.0.0.0/1"))])


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_overlap_is_that_of_sets(one, length, other, more):
    first = (
        32,
        one >> (32 - length) << (32 - length),
        (one >> (32 - length) << (32 - length)) + (1 << (32 - length)) - 1,
    )
    second = (
        32,
        other >> (32 - more) << (32 - more),
        (other >> (32 - more) << (32 - more)) + (1 << (32 - more)) - 1,
    )
    short = min(length, more)
    assert pools.overlap(first, second) == (one >> (32 - short) == other >> (32 - short))
    assert not pools.overlap(first, (128, *second[1:]))


@given(st.text(max_size=40))
def test_any_words_are_a_subnet_or_refused(words):
    try:
        pools.complete({"Subnet": words})
    except EstivaError:
        pass
