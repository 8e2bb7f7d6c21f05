"""resolv.conf and hosts of a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from estiva.errors import InvalidInput
from estiva.network import resolvconf

HOST = "# made by\nnameserver 192.0.2.53\nnameserver 127.0.0.1\nsearch a.test b.test\noptions ndots:2\n"


def test_hosts_servers_without_loopback() -> None:
    assert resolvconf.resolv_conf(HOST) == "nameserver 192.0.2.53\nsearch a.test b.test\noptions ndots:2\n"


def test_host_network_keeps_loopback() -> None:
    assert "nameserver 127.0.0.1\n" in resolvconf.resolv_conf(HOST, host_network=True)


def test_stub_only_takes_the_upstreams(tmp_path: Path) -> None:
    upstream = tmp_path / "resolv.conf"
    upstream.write_text("nameserver 192.0.2.1\nnameserver ::1\n")
    text = resolvconf.resolv_conf("nameserver 127.0.0.53\noptions edns0\n", upstream=str(upstream))
    assert "\nnameserver 192.0.2.1\n" in text
    assert "127.0.0.53" in text.splitlines()[0] and text.startswith("#")
    assert text.endswith("options edns0\n")


def test_nothing_reachable_says_so(tmp_path: Path) -> None:
    text = resolvconf.resolv_conf("nameserver 127.0.0.53\n", upstream=str(tmp_path / "none"))
    assert "--dns" in text
    assert not [line for line in text.splitlines() if line.startswith("nameserver")]


def test_own_words_replace_the_hosts() -> None:
    text = resolvconf.resolv_conf(HOST, dns=["127.0.0.1", "2001:db8::1"], search=["."], options=["timeout:1"])
    assert text == "nameserver 127.0.0.1\nnameserver 2001:db8::1\noptions timeout:1\n"


@pytest.mark.parametrize("word", ["", "a b", "a\nnameserver 6.6.6.6", "\x1b[31m", "#x"])
def test_words_can_not_add_lines(word: str) -> None:
    with pytest.raises(InvalidInput):
        resolvconf.resolv_conf("", search=[word])
    with pytest.raises(InvalidInput):
        resolvconf.hosts("h", "10.0.0.2", [f"{word}:10.0.0.3"])


def test_hosts_file() -> None:
    extra = ["db:10.0.0.9", "six:[2001:db8::2]", "up=host-gateway", "v6:2001:db8::3"]
    text = resolvconf.hosts("web.test", "10.0.0.2", extra, gateway="10.0.0.1")
    assert text.splitlines() == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "ff00::0\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
        "10.0.0.9\tdb",
        "2001:db8::2\tsix",
        "10.0.0.1\tup",
        "2001:db8::3\tv6",
        "10.0.0.2\tweb.test web",
    ]


def test_hosts_without_an_address_of_its_own() -> None:
    assert resolvconf.hosts("box", "").endswith("127.0.0.1\tbox\n")


@pytest.mark.parametrize("entry", ["db", "db:", "db:300.1.1.1", "db:1.2.3.4 evil"])
def test_wrong_host_entry(entry: str) -> None:
    with pytest.raises(InvalidInput, match="host entry"):
        resolvconf.hosts("h", "10.0.0.2", [entry])


def test_embedded_name_server() -> None:
    """As Docker 26 writes it: the host's options stay, and names without a dot are asked as they are."""
    text = resolvconf.resolv_conf(
        "nameserver 127.0.0.53\nsearch a.test\noptions edns0 trust-ad\n", embedded=True
    )
    assert text == "nameserver 127.0.0.11\nsearch a.test\noptions edns0 trust-ad ndots:0\n"
    assert resolvconf.resolv_conf("", embedded=True) == "nameserver 127.0.0.11\noptions ndots:0\n"
    given = resolvconf.resolv_conf(HOST, dns=["192.0.2.9"], search=["."], options=["ndots:3"], embedded=True)
    assert given == "nameserver 127.0.0.11\noptions ndots:3\n"


def test_whom_the_embedded_name_server_asks() -> None:
    """The host's servers from the host, those of --dns from the container; never itself."""
    assert resolvconf.forwarding(HOST) == ([("192.0.2.53", True), ("127.0.0.1", True)], True)
    assert resolvconf.forwarding(HOST, dns=["10.1.0.9", "127.0.0.11"], options=["rotate"]) == (
        [("10.1.0.9", False)],
        False,
    )
    assert resolvconf.forwarding("") == ([], False)
