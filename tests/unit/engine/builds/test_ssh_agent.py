"""The agent of a RUN: what passes to the one behind it, what it signs with a key's file, and its end."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from enginekit import eventually
from estiva.builder.request import Agent
from estiva.engine.builds.ssh import protocol
from estiva.engine.builds.ssh.keys import Keyring
from estiva.engine.builds.ssh.served import Served
from estiva.errors import EstivaError

KINDS = {
    "ed25519": ["-t", "ed25519"],
    "rsa": ["-t", "rsa", "-b", "2048"],
    "pem": ["-t", "rsa", "-b", "2048", "-m", "PEM"],
    "pkcs8": ["-t", "ecdsa", "-m", "PKCS8"],
    "ecdsa": ["-t", "ecdsa"],
    "p521": ["-t", "ecdsa", "-b", "521"],
}


def new_key(folder: pathlib.Path, name: str, *words: str, passphrase: str = "") -> str:
    path = str(folder / name)
    subprocess.run(["ssh-keygen", "-q", "-N", passphrase, "-f", path, *words], check=True)
    return path


@contextmanager
def served(folder: pathlib.Path, places: list[str], mode: int = 0o600) -> Iterator[str]:
    path = str(folder / "socket")
    agent = Served(Agent(path, places, mode, 0, 0))
    try:
        yield path
    finally:
        agent.close()
        os.unlink(path)


def ask(path: str, message: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(path)
        client.sendall(protocol.string(message))
        return protocol.read(client)


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_with_a_key_s_file(tmp_path: pathlib.Path, kind: str) -> None:
    """As OpenSSH, which asks for it and looks whether it is right."""
    key = new_key(tmp_path, kind, *KINDS[kind])
    os.rename(key, key + ".hidden")
    message = tmp_path / "message"
    message.write_text("text")
    with served(tmp_path, [key + ".hidden"]) as path:
        env = {**os.environ, "SSH_AUTH_SOCK": path}
        sign = ["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", key + ".pub", str(message)]
        subprocess.run(sign, env=env, check=True, capture_output=True)
    check = ["ssh-keygen", "-q", "-Y", "check-novalidate", "-n", "file", "-s", f"{message}.sig"]
    subprocess.run(check, stdin=message.open(), check=True, capture_output=True)


def test_several_keys_are_listed(tmp_path: pathlib.Path) -> None:
    keys = [new_key(tmp_path, name, *KINDS[name]) for name in ("ed25519", "ecdsa")]
    with served(tmp_path, keys, 0o640) as path:
        assert os.stat(path).st_mode & 0o777 == 0o640
        said = subprocess.run(
            ["ssh-add", "-L"], env={"SSH_AUTH_SOCK": path}, capture_output=True, text=True
        ).stdout
    wanted = [pathlib.Path(key + ".pub").read_text().split()[:2] for key in keys]
    assert [line.split()[:2] for line in said.splitlines()] == wanted


def test_what_passes_to_another_agent(tmp_path: pathlib.Path) -> None:
    """Nothing but requests for identities and signatures; and only such answers come back."""
    behind = str(tmp_path / "behind")
    heard: list[int] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(behind)
        listener.listen(8)
        with served(tmp_path, [behind]) as path:
            listener.accept()[0].close()  # whether it answers
            for kind in range(256):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(60)
                    client.connect(path)
                    agent, _ = listener.accept()
                    with agent:
                        client.sendall(protocol.string(bytes((kind,)) + b"rest"))
                        if kind in (11, 13):
                            assert protocol.read(agent) == bytes((kind,)) + b"rest"
                            heard.append(kind)
                            agent.sendall(protocol.string(bytes((200 if kind == 11 else 14,)) + b"reply"))
                        answer = protocol.read(client)
                        assert answer == (b"\x0ereply" if kind == 13 else protocol.REFUSAL), kind
                        client.shutdown(socket.SHUT_WR)
                        assert agent.recv(1) == b""  # it heard no more
    assert heard == [11, 13]


@pytest.mark.parametrize("data", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\4\0\1x", b"\0\0\0\5\x0b", b"\0"])
def test_what_is_no_message_ends_the_connection(tmp_path: pathlib.Path, data: bytes) -> None:
    with served(tmp_path, [new_key(tmp_path, "key", "-t", "ed25519")]) as path:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(path)
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):  # with something of ours unread
                assert client.recv(100) == b""
        assert ask(path, b"\x0b")[0] == protocol.IDENTITIES_ANSWER  # others go on


@pytest.mark.parametrize("body", [b"", b"\0\0", b"\0\0\0\1x", b"\0\0\0\0\0\0\0\0", b"\xff" * 20, b"\0" * 12])
def test_a_malformed_request_for_a_signature(tmp_path: pathlib.Path, body: bytes) -> None:
    keys = Keyring([new_key(tmp_path, "key", "-t", "ed25519")])
    assert keys.answer(b"\x0d" + body) == protocol.REFUSAL


def test_too_many_connections(tmp_path: pathlib.Path) -> None:
    """A command that opens all that there are keeps itself from more, and gets them back."""
    with served(tmp_path, [new_key(tmp_path, "key", "-t", "ed25519")]) as path:
        held = [socket.socket(socket.AF_UNIX) for _ in range(64)]
        for client in held:
            client.connect(path)
            client.sendall(protocol.string(b"\x0b"))
            protocol.read(client)
        with socket.socket(socket.AF_UNIX) as more:
            more.settimeout(60)
            more.connect(path)
            assert more.recv(1) == b""
        for client in held:
            client.close()

        def answers() -> bool:
            try:
                return ask(path, b"\x0b")[:1] == bytes((protocol.IDENTITIES_ANSWER,))
            except OSError:
                return False

        eventually(answers)


def test_keys_that_can_t_be_used(tmp_path: pathlib.Path) -> None:
    locked = new_key(tmp_path, "locked", "-t", "ed25519", passphrase="word word")
    old = new_key(tmp_path, "old", "-t", "rsa", "-m", "PEM", passphrase="word word")
    none = tmp_path / "none"
    none.write_text("no key\n")
    large = tmp_path / "large"
    large.write_bytes(b"x" * (101 << 10))
    gone = str(tmp_path / "gone")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(gone)
    for places, message in (
        ([locked], "locked: it has a passphrase"),
        ([old], "old: it has a passphrase"),
        ([str(none)], "none: it is no private key"),
        ([locked + ".pub"], "locked.pub: it is no private key"),
        ([str(large)], "large: it is larger than 100 KiB"),
        ([str(tmp_path / "absent")], "absent: no such file"),
        ([str(tmp_path)], "is a directory"),
        (["/dev/null"], "neither a file nor the socket of an agent"),
        ([gone], f"the ssh agent at {gone} does not answer"),
        ([gone, locked], "can't go with others under one id"),
    ):
        with pytest.raises(EstivaError) as caught:
            Served(Agent(str(tmp_path / "s"), places, 0o600, 0, 0)).close()
        assert message.lower() in caught.value.message.lower(), places
        os.unlink(tmp_path / "s")


def test_it_ends_with_the_build_and_shows_nothing(tmp_path: pathlib.Path) -> None:
    """However that ends: killed, it can't tell anybody."""
    key = new_key(tmp_path, "key", "-t", "ed25519")
    program = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
from estiva.builder.request import Agent
from estiva.engine.builds.ssh.served import Served
agent = Served(Agent({str(tmp_path / "s")!r}, [{key!r}], 0o600, 0, 0))
print(agent._child.pid, flush=True)
os.read(0, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdin is not None
        pid = int(child.stdout.readline())
        status = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        assert status.startswith(b"estiva: ssh agent\0") and b"key" not in status
        assert not pathlib.Path(f"/proc/{pid}/environ").read_bytes().strip(b"\0")
        child.stdin.write(b"x")
        child.stdin.close()
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))
