"""The PORTS column, with docker 26's words for the same containers."""

from __future__ import annotations

from typing import Any

import pytest

from estiva.cli.container import ps
from estiva.engine.containers import inspect
from estiva.engine.state import lookup


def bound(*places: str) -> list[dict[str, str]]:
    return [dict(zip(("HostIp", "HostPort"), place.rsplit(":", 1), strict=True)) for place in places]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, ""),
        ({"443/tcp": None}, "443/tcp"),
        ({"80/tcp": bound("0.0.0.0:8080")}, "0.0.0.0:8080->80/tcp"),
        ({"80/tcp": bound("0.0.0.0:80")}, "0.0.0.0:80->80/tcp"),
        (
            {
                "9000/tcp": bound("0.0.0.0:9000", ":::9000"), "100/udp": None, "80/tcp": bound("0.0.0.0:8080", ":::8080"),
                "9001/tcp": bound("0.0.0.0:9001", ":::9001"), "101/udp": None, "81/udp": bound("127.0.0.1:8081"),
                "9002/tcp": bound("0.0.0.0:9002", ":::9002"), "102/udp": None, "82/tcp": bound("::1:8082"),
                "103/udp": None, "90/tcp": None, "91/tcp": None,
            },
            "90-91/tcp, 100-103/udp, 0.0.0.0:9000-9002->9000-9002/tcp, :::9000-9002->9000-9002/tcp, "
            "0.0.0.0:8080->80/tcp, :::8080->80/tcp, 127.0.0.1:8081->81/udp, ::1:8082->82/tcp",
        ),
        ({"1/tcp": None, "2/tcp": None, "4/tcp": None, "2/udp": None}, "1-2/tcp, 4/tcp, 2/udp"),
    ],
)  # fmt: skip
def test_ports_in_docker_s_words(table: dict[str, Any], words: str) -> None:
    assert ps.ports(table) == words


def test_what_is_exposed_is_told_beside_what_is_published() -> None:
    published = [
        {"ContainerPort": "80", "Protocol": "tcp", "HostIp": "", "HostPort": "8080"},
        {"ContainerPort": "80", "Protocol": "tcp", "HostIp": "::", "HostPort": "8080"},
    ]
    assert lookup.docker_shape(published, {"80/tcp": {}, "9/udp": {}, "70": {}}) == {
        "70/tcp": None,
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
        "9/udp": None,
    }


def test_port_has_brackets_around_ipv6_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"100/udp": None, "9/tcp": bound(":::9"), "80/tcp": bound("0.0.0.0:8080", ":::8080")}
    monkeypatch.setattr(inspect, "resolve", lambda engine, ref: {"NetworkSettings": {"Ports": table}})
    assert inspect.port(None, "web") == [  # type: ignore[arg-type]
        ("9/tcp", "[::]:9"), ("80/tcp", "0.0.0.0:8080"), ("80/tcp", "[::]:8080"),
    ]  # fmt: skip
