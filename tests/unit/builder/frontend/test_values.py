"""Durations, sizes, ports, signals, modes and RUN --mount fields."""

from __future__ import annotations

import pytest

from estiva.builder.frontend import run_mounts, values
from estiva.builder.frontend.variables import Expander
from estiva.errors import InvalidInput


def test_durations() -> None:
    assert values.duration("1h2m3.5s") == 3723_500_000_000
    assert [values.show(n) for n in (0, 10**8, 30 * 10**9, 90 * 10**9, 3600 * 10**9)] == [
        "0s",
        "100ms",
        "30s",
        "1m30s",
        "1h0m0s",
    ]


def test_sizes() -> None:
    assert [values.size(text) for text in ("10", "1k", "1.5m", "2GB", "1gib")] == [
        10,
        1024,
        1572864,
        2 << 30,
        1 << 30,
    ]


def test_ports() -> None:
    assert values.ports("127.0.0.1:8080:80") == values.ports("80") == ["80/tcp"]
    assert values.ports("53/UDP") == ["53/udp"]
    assert values.ports("8000-8002/sctp") == ["8000/sctp", "8001/sctp", "8002/sctp"]
    for text in ("x", "70000", "80/icmp", "9-8", "80:", "-1", "", "٣"):
        with pytest.raises(InvalidInput):
            values.ports(text)


def test_signals() -> None:
    assert [values.signal_number(text) for text in ("SIGTERM", "quit", "9", "RTMIN+3")] == [15, 3, 9, 37]
    for text in ("SIGNOPE", "0", "65", "RTMAX+1"):
        with pytest.raises(InvalidInput):
            values.signal_number(text)


@pytest.mark.parametrize(
    ("text", "mode", "directory", "expected"),
    [
        ("755", 0o600, False, 0o755),
        ("4755", 0o600, False, 0o4755),
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o700, True, 0o755),
        ("+x", 0o644, False, 0o755),
        ("a-w", 0o666, False, 0o444),
        ("g=u", 0o640, False, 0o660),
        ("u+s,o-rwx", 0o755, False, 0o4750),
        ("+t", 0o777, True, 0o1777),
    ],
)
def test_chmod(text: str, mode: int, directory: bool, expected: int) -> None:
    assert oct(values.mode_change(text, mode, directory)) == oct(expected)


@pytest.mark.parametrize("text", ["8", "99999", "u~x", "u=z", ""])
def test_chmod_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        values.mode_change(text, 0o644, False)


def mount(text: str) -> run_mounts.Mount:
    return run_mounts.parse(text, Expander({"d": "/data"}), "/work")


def test_mounts() -> None:
    cache = mount("type=cache,target=$d,sharing=locked,uid=5,mode=0700")
    assert (cache.target, cache.id, cache.sharing, cache.uid, cache.mode) == (
        "/data",
        "/data",
        "locked",
        5,
        0o700,
    )
    assert cache.writable
    bind = mount("target=sub,src=x,from=base")
    assert (bind.kind, bind.target, bind.source, bind.from_, bind.writable) == (
        "bind",
        "/work/sub",
        "x",
        "base",
        False,
    )
    assert mount("target=/x,rw").writable
    assert mount("type=tmpfs,target=/x,size=1m").size == 1 << 20
    secret = mount("type=secret,id=token,required")
    assert (secret.target, secret.required) == ("/run/secrets/token", True)
    assert mount("type=secret,id=token,env=TOKEN").target == ""
    assert mount('type=bind,"target=/a,b"').target == "/a,b"


@pytest.mark.parametrize(
    "text",
    [
        "type=nfs,target=/x",
        "type=cache",
        "type=tmpfs,target=/",
        "type=bind,target=/x,size=1",
        "type=secret",
        "type=cache,target=/x,sharing=sometimes",
        "type=cache,target=/x,mode=999",
        "target",
        "type=bind,target=/x,colour=red",
    ],
)
def test_mounts_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        mount(text)
