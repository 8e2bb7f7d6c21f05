"""Credentials: docker's config file, podman's, and credential helpers."""

from __future__ import annotations

import base64
import json
import os
import stat

import pytest

from estiva.errors import EngineError, InvalidInput
from estiva.registry.http import credentials


def encoded(text):
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))

    def write(value):
        (tmp_path / "docker").mkdir(exist_ok=True)
        (tmp_path / "docker" / "config.json").write_text(
            value if isinstance(value, str) else json.dumps(value)
        )

    return write


def helper(tmp_path, monkeypatch, script):
    directory = tmp_path / "bin"
    directory.mkdir(exist_ok=True)
    program = directory / "docker-credential-test"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    "key",
    ["r.example:5000", "https://r.example:5000", "https://r.example:5000/v2/", "http://r.example:5000/v1/"],
)
def test_the_keys_that_tools_write(config, key):
    config({"auths": {key: {"auth": encoded("me:pass:word")}}})
    assert credentials.lookup("r.example:5000") == credentials.Credentials("me", "pass:word")
    assert credentials.lookup("r.example") is None
    assert credentials.lookup("example:5000") is None


def test_docker_hub_has_a_key_of_its_own(config):
    config({"auths": {"https://index.docker.io/v1/": {"auth": encoded("me:x")}}})
    assert credentials.lookup("docker.io") == credentials.Credentials("me", "x")


def test_identity_tokens_and_finer_keys(config):
    config(
        {
            "auths": {
                "r.example": {"auth": encoded("<token>:"), "identitytoken": "tok"},
                "r.example/team/app": {"auth": encoded("team:y")},
            }
        }
    )
    assert credentials.lookup("r.example").identity_token == "tok"
    assert credentials.lookup("r.example", "team/app").user == "team"
    assert credentials.lookup("r.example", "team/other").identity_token == "tok"


def test_podmans_file_is_asked_after_dockers(config, tmp_path):
    config({})
    (tmp_path / ".config/containers").mkdir(parents=True)
    (tmp_path / ".config/containers/auth.json").write_text(
        json.dumps({"auths": {"r": {"auth": encoded("p:q")}}})
    )
    assert credentials.lookup("r") == credentials.Credentials("p", "q")


@pytest.mark.parametrize(
    "text", ["[", "[]", '{"auths": {"r": {"auth": "%%%"}}}', '{"credsStore": "../evil"}']
)
def test_damaged_files_are_named(config, text):
    config(text)
    with pytest.raises(InvalidInput, match="config.json"):
        credentials.lookup("r")


def test_a_helper_is_asked_and_told(config, tmp_path, monkeypatch):
    config({"credHelpers": {"r.example": "test"}})
    helper(
        tmp_path,
        monkeypatch,
        f"""read -r line
echo "$1 $line" >> {tmp_path}/calls
[ "$1" != get ] || printf '{{"ServerURL":"%s","Username":"u","Secret":"s"}}' "$line"
""",
    )
    assert credentials.lookup("r.example") == credentials.Credentials("u", "s")
    assert credentials.store("r.example", credentials.Credentials("a", "b")) == "docker-credential-test"
    assert credentials.erase("r.example")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == "get r.example" and calls[-1] == "erase r.example"
    assert json.loads(calls[1].removeprefix("store ")) == {
        "ServerURL": "r.example",
        "Username": "a",
        "Secret": "b",
    }
    assert "b" not in (tmp_path / "docker/config.json").read_text().replace("test", "").replace("Helpers", "")


def test_a_helper_that_knows_nothing(config, tmp_path, monkeypatch):
    config({"credsStore": "test", "auths": {"r": {"auth": encoded("file:x")}}})
    helper(tmp_path, monkeypatch, 'echo "credentials not found in native keychain"; exit 1\n')
    assert credentials.lookup("r") == credentials.Credentials("file", "x")
    helper(tmp_path, monkeypatch, 'echo "locked"; exit 1\n')
    with pytest.raises(EngineError, match="locked"):
        credentials.lookup("r")


def test_a_helper_that_is_missing(config):
    config({"credsStore": "nosuchhelper"})
    with pytest.raises(EngineError, match="docker-credential-nosuchhelper"):
        credentials.lookup("r")


def test_storing_keeps_what_else_the_file_holds(config, tmp_path):
    config({"proxies": {"default": {}}, "auths": {"other": {"auth": encoded("o:p")}}})
    path = credentials.store("r.example", credentials.Credentials("me", "x"))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    written = json.loads((tmp_path / "docker/config.json").read_text())
    assert written["proxies"] == {"default": {}}
    assert written["auths"] == {"other": {"auth": encoded("o:p")}, "r.example": {"auth": encoded("me:x")}}
    assert credentials.erase("r.example") and not credentials.erase("r.example")
    assert credentials.lookup("other").user == "o"


def test_secrets_are_not_shown():
    assert "hush" not in repr(credentials.Credentials("me", "hush", "hush"))
