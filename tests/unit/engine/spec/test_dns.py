import pytest

from estiva.engine.spec import dns
from estiva.errors import InvalidInput


def test_what_a_container_may_be_told():
    dns.check({})
    dns.check(
        {
            "Dns": ["10.0.0.1", "2001:db8::1"],
            "DnsSearch": ["example.com.", "a_b", "é.example"],
            "DnsOptions": ["ndots:2"],
        }
    )
    dns.check(
        {"DnsSearch": ["."], "ExtraHosts": ["db:10.0.0.9", "six:2001:db8::2", "b=[::1]", "up:host-gateway"]}
    )


REFUSED = [
    ({"Dns": ["x"]}, "IP address is not correctly formatted: x"),
    ({"Dns": [""]}, "IP address is not correctly formatted: "),
    ({"Dns": ["10.0.0.1 "]}, "IP address is not correctly formatted: "),
    ({"DnsSearch": ["a b"]}, "a b is not a valid domain"),
    ({"DnsSearch": [""]}, "is not a valid domain"),
    ({"DnsSearch": ["a..b"]}, "a..b is not a valid domain"),
    ({"DnsSearch": ["a" * 64]}, "is not a valid domain"),
    ({"DnsSearch": ["a\nnameserver 6.6.6.6"]}, "is not a valid domain"),
    ({"DnsOptions": ["a\nnameserver 6.6.6.6"]}, "can't stand in a resolv.conf"),
    ({"DnsOptions": [""]}, "can't stand in a resolv.conf"),
    ({"ExtraHosts": ["x"]}, 'bad format for add-host: "x"'),
    ({"ExtraHosts": [":1.2.3.4"]}, 'bad format for add-host: ":1.2.3.4"'),
    ({"ExtraHosts": ["a:b"]}, 'invalid IP address in add-host: "b"'),
    ({"ExtraHosts": ["a:"]}, 'invalid IP address in add-host: ""'),
    ({"ExtraHosts": ["a\nb:1.2.3.4"]}, r"'a\nb' can't stand in"),
    ({"ExtraHosts": ["#a:1.2.3.4"]}, "'#a' can't stand in"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "message"), REFUSED, ids=[row[1] for row in REFUSED])
def test_refused(host, message):
    with pytest.raises(InvalidInput) as caught:
        dns.check(host)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "truth"), [("1.2.3.4", True), ("::", True), ("1.2.3", False), ("", False), ("a\0", False)]
)
def test_addresses(text, truth):
    assert dns.is_address(text) is truth
