"""Logging in and out, and registries as users write them."""

from __future__ import annotations

import pytest

from estiva.errors import Denied, InvalidInput
from estiva.oci.reference import Reference
from estiva.registry import client
from estiva.registry.http import credentials
from estiva.registry.server.auth.htpasswd import apr1
from registry_support import QUICK, Server, ask, fake_store, fill, sample


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Credentials are kept in files of this test's own."""
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.fixture
def guarded(tmp_path):
    users = tmp_path / "users"
    users.write_text(f"ann:{apr1(b'pw', 'salt')}\n")
    with Server(tmp_path / "registry", htpasswd=str(users)) as server:
        yield server


def test_basic_login_push_and_pull(guarded, config, tmp_path):
    assert ask(guarded.address, "GET", "/v2/")[0] == 401
    store = fake_store(tmp_path)
    image = fill(store, sample(1))
    target = Reference.parse(f"{guarded.address}/a/b:1")
    with pytest.raises(Denied) as caught:
        client.push(store, image, target, config=QUICK)
    assert caught.value.hint == f"estiva login {guarded.address}"
    with pytest.raises(Denied, match="wrong user or password"):
        client.login(guarded.address, "ann", "nope", config=QUICK)
    assert credentials.lookup(guarded.address) is None
    client.login(guarded.address, "ann", "pw", config=QUICK)
    client.push(store, image, target, config=QUICK)
    assert client.pull(fake_store(tmp_path / "other"), target, config=QUICK).id == image.id
    assert client.logout(guarded.address)
    with pytest.raises(Denied):
        client.pull(fake_store(tmp_path / "third"), target, config=QUICK)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("https://r.example/", "r.example"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_hosts_as_users_write_them(text, host):
    assert client.registry_host(text) == host


@pytest.mark.parametrize("text", ["a b", "r.example/path", "-x", "a:b:c"])
def test_bad_hosts(text):
    with pytest.raises(InvalidInput):
        client.registry_host(text)
