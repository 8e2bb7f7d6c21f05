"""A network laboratory: tests that make bridges and firewall rules run in a network namespace of their own.

`@own_netns` runs a test function in a fresh interpreter under unshare(1), so that nothing touches the
machine's network. Inside, `Lab` has a state root, and processes with netns that stand for containers or other
machines. Sockets are made inside a netns by entering it for a moment; they stay in it.
"""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

MARK = "ESTIVA_TEST_NETNS"
TIMEOUT = 60.0

_RUNNER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("in_netns", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
getattr(module, sys.argv[2])()
"""


def own_netns(test: Callable[[], None]) -> Callable[[], None]:
    """Run the test under `unshare -n`; skip where that, or nft, is missing."""

    @functools.wraps(test)
    def run() -> None:
        if os.environ.get(MARK):
            test()
            return
        if os.geteuid() != 0 or not shutil.which("nft") or not shutil.which("unshare"):
            pytest.skip("needs root, unshare and nft")
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
        environment[MARK] = "1"
        for name in ("ESTIVA_BRIDGE", "ESTIVA_ROOT", "ESTIVA_RUN_ROOT"):
            environment.pop(name, None)
        done = subprocess.run(
            ["unshare", "-n", sys.executable, "-c", _RUNNER, inspect.getfile(test), test.__name__],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run


class Lab:
    """A state root and the netns made for one test; `close` ends everything."""

    def __init__(self) -> None:
        from estiva.paths import Paths
        from estiva.store.database import Database

        self.directory = tempfile.mkdtemp(prefix="estiva-net-")
        self.paths = Paths(self.directory + "/root", self.directory + "/run")
        self.paths.prepare()
        self.db = Database(self.paths.database)
        self.processes: list[subprocess.Popen[bytes]] = []
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.db.close()
        shutil.rmtree(self.directory)

    def netns(self) -> int:
        """The pid of a sleeping process in a netns of its own."""
        process = subprocess.Popen(["unshare", "-n", "sleep", "3600"])
        self.processes.append(process)
        here = os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + TIMEOUT
        while os.readlink(f"/proc/{process.pid}/ns/net") == here:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        return process.pid

    def end(self, pid: int) -> None:
        """End a process of `netns`."""
        for process in self.processes:
            if process.pid == pid:
                process.kill()
                process.wait()

    def machine(self, address: str, host: str, name: str = "lan0") -> int:
        """Another machine beside the host, /24 apart: the pid of its netns. The host's end is interface
        `name`.
        """
        pid = self.netns()
        ip("link", "add", name, "type", "veth", "peer", "name", "lan", "netns", str(pid))
        ip("addr", "add", f"{host}/24", "dev", name)
        ip("link", "set", name, "up")
        for words in (("addr", "add", f"{address}/24", "dev", "lan"), ("link", "set", "lan", "up")):
            inside(pid, "ip", *words)
        inside(pid, "ip", "link", "set", "lo", "up")
        return pid


def ip(*words: str) -> str:
    """ip(8) here."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def inside(pid: int, *words: str) -> str:
    """The output of a command in the netns of `pid`."""
    command = ["nsenter", "-t", str(pid), "-n", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def at(pid: int) -> Iterator[None]:
    """Be in the netns of `pid` (0: here)."""
    if not pid:
        yield
        return
    from estiva.linux.namespace import setns

    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        setns(there)
        yield
    finally:
        setns(home)
        os.close(home)
        os.close(there)


def server(pid: int, port: int, address: str = "0.0.0.0", kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A listening (or UDP) socket in the netns of `pid`."""
    with at(pid):
        made = socket.socket(socket.AF_INET, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        if kind == socket.SOCK_STREAM:
            made.listen(8)
    made.settimeout(TIMEOUT)
    return made


def talk(pid: int, listening: socket.socket, address: str, port: int, source: str = "") -> str:
    """Connect from the netns of `pid`, send words both ways; the address that the server saw. Raises
    OSError.
    """
    with at(pid):
        client = socket.socket()
    client.settimeout(TIMEOUT)
    with client:
        if source:
            client.bind((source, 0))
        client.connect((address, port))
        served, peer = listening.accept()
        with served:
            client.sendall(b"ask")
            assert served.recv(16) == b"ask"
            served.sendall(b"answer")
            assert client.recv(16) == b"answer"
    return str(peer[0])


def reaches(pid: int, address: str, port: int, seconds: float = 0.4) -> bool:
    """Whether a TCP connection from the netns of `pid` is made within a short time."""
    with at(pid):
        client = socket.socket()
    client.settimeout(seconds)
    with client:
        try:
            client.connect((address, port))
        except OSError:
            return False
    return True
