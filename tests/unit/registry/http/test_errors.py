"""What a registry says of waiting, where a proxy is, and how an exchange that broke is told."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from yarl import URL

from estiva.errors import Unavailable
from estiva.registry.http import errors


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", None), ("0", 0.0), ("120", 120.0), ("-1", None), ("1.5", None), ("1" * 10, None), ("soon", None),
     ("٣", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after(header, seconds):
    assert errors.retry_after(header) == seconds


def test_retry_after_a_date():
    found = errors.retry_after(formatdate(time.time() + 3600, usegmt=True))
    assert found is not None and 0 < found <= 3600


@pytest.fixture
def proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_the_proxy_of_the_environment(proxies):
    assert errors.proxy(URL("https://r.example")) is None
    proxies.setenv("HTTPS_PROXY", "http://one:3128")
    assert errors.proxy(URL("https://r.example")) == "http://one:3128"
    proxies.setenv("https_proxy", "http://two:3128")
    assert errors.proxy(URL("https://r.example")) == "http://two:3128"
    assert errors.proxy(URL("http://r.example")) is None
    proxies.setenv("HTTP_PROXY", "http://of-a-cgi-request")  # what a client's header Proxy becomes
    assert errors.proxy(URL("http://r.example")) is None
    proxies.setenv("http_proxy", "http://three:3128")
    assert errors.proxy(URL("http://r.example")) == "http://three:3128"


def test_what_goes_through_no_proxy(proxies):
    proxies.setenv("https_proxy", "http://one:3128")
    proxies.setenv("no_proxy", "r.example")
    for host in ("localhost", "127.0.0.1:5000", "[::1]", "r.example"):
        assert errors.proxy(URL(f"https://{host}")) is None


def test_a_connection_that_broke_is_told_in_one_line():
    for error, text in (
        (TimeoutError(), "r.example:5000 does not answer in time"),
        (ConnectionResetError("x\ny"), "the connection to r.example:5000 broke off"),
    ):
        failure = errors.broken(error, "r.example", 5000)
        assert isinstance(failure, errors.Broken) and isinstance(failure.error, Unavailable)
        assert str(failure) == text
