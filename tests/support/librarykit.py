"""What the tests of docker's libraries share: a registry with rules and a login, archives, sockets."""

from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import bcrypt

from apikit import Api

WAITS = ["sh", "-c", "trap exit TERM; echo up; while :; do sleep 0.1; done"]
REGISTRY = "127.0.0.1:5000"
LOGIN = {"username": "ann", "password": "s3cret"}
RULES = f"""
listen = "{REGISTRY}"
root = "registry"
htpasswd = "users"
[token]
[[rule]]
repository = "public/**"
users = ["anonymous"]
[[rule]]
repository = "**"
users = ["ann"]
allow = ["pull", "push", "delete"]
"""


@contextlib.contextmanager
def registry_of(api: Api) -> Iterator[str]:
    """One with tokens, that lets nobody but ann push, and whoever asks pull what is public."""
    with open(f"{api.folder}/users", "w") as file:
        file.write(f"ann:{bcrypt.hashpw(b's3cret', bcrypt.gensalt(5)).decode()}\n")
    with open(f"{api.folder}/registry.toml", "w") as file:
        file.write(RULES)
    server = api.start("registry", "serve", "-c", "registry.toml", stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline().startswith("serving ")
    yield REGISTRY
    server.terminate()
    server.wait(60)
    server.stdout.close()


def archive(**files: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def read_of(raw: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


def read_all(sock: Any) -> bytes:
    """All until the other side has ended, with the heads of its frames."""
    got = b""
    while data := sock.recv(1 << 16):
        got += data
    return got
