"""What a service is ready by: `wait=` of estiva.testing.service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from estiva.engine.explain import running
from estiva.errors import Conflict, InvalidInput
from estiva.sdk import steps, values
from estiva.sdk.objects.waiting import StillRunning
from estiva.sdk.result import CommandTimeout

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from estiva.sdk.testing.ready import Wait, Waiting

    Word = str | os.PathLike[str]

LINE = 1 << 20  # bytes of a log in which a pattern is looked for
STATUS_LINE = 1 << 10  # bytes in which an answer's status is


def port(number: int) -> Wait:
    """Something in the container listens on a TCP port, not on its loopback address alone."""
    number = values.whole("a port", number, 1, 1 << 16)

    def wait(waiting: Waiting) -> None:
        while True:
            pid = waiting.box.inspect()["State"]["Pid"]
            for address, found in running.sockets(pid, "tcp") if pid else ():
                if found == number and not address.startswith("127.") and address != "::1":
                    return
            waiting.again(f"does not listen on port {number}")

    return wait


def log(pattern: str, *, count: int = 1) -> Wait:
    """A line of what it writes holds `pattern` (of `re`), `count` times."""
    try:
        wanted = re.compile(values.text("pattern", pattern).encode())
    except re.error as error:
        raise InvalidInput(f"invalid pattern {values.shown(pattern)}: {error}") from None
    count = values.whole("count", count, 1)

    def wait(waiting: Waiting) -> None:
        found = 0
        stream = waiting.box.reading(True, True, None, None, "all", True)
        try:
            for one in stream:
                if isinstance(one, steps.Wait):
                    waiting.again(f"has not written {pattern!r}")
                elif wanted.search(one.text[:LINE]):
                    found += 1
                    if found == count:
                        return
        finally:
            stream.close()
        waiting.again(f"has not written {pattern!r}")
        raise waiting.late(f"has not written {pattern!r}")

    return wait


def healthy() -> Wait:
    """Its health check says so."""

    def wait(waiting: Waiting) -> None:
        while True:
            try:
                waiting.box.wait(waiting.left, condition="healthy")
                return
            except StillRunning:
                waiting.again("is not healthy")

    return wait


def command(words: str | Sequence[Word], *, user: str = "", env: Mapping[str, str] | None = None) -> Wait:
    """A command in the container ends with 0: a client's that asks its server, for SQL say. What is secret
    goes by `env`: others of this machine see the words.

    testing.command(["psql", "-h", "127.0.0.1", "-U", "postgres", "-c", "SELECT 1"])
    """
    wanted = values.words("the command", words)
    variables = dict(env) if env else None

    def wait(waiting: Waiting) -> None:
        said = "not in time"
        while True:
            try:
                done = waiting.box.exec(
                    wanted, user=user, env=variables, timeout=waiting.left, max_output=4096
                )
                said = f"with {done.status}"
                if done.status == 0:
                    return
            except (CommandTimeout, Conflict):
                pass  # the last try; or it has ended just now, or is paused
            waiting.again(f"ends {values.shown(wanted)} {said}")

    return wait


def http(path: str = "/", *, port: int | None = None, status: int | None = None) -> Wait:
    """A GET by its published port has an answer: `status`, or any below 500."""
    path = values.text("path", path)
    if not path.startswith("/") or any(not "!" <= letter <= "~" for letter in path):
        raise InvalidInput(f"invalid path {values.shown(path)}", hint="as a browser sends it: /health?full=1")

    def wait(waiting: Waiting) -> None:
        while True:
            service = waiting.service
            try:
                code = _status(service.host, service.port(port), path, waiting.left)
                if code == status or (status is None and code < 500):
                    return
                found = f"answers {path} with {code}"
            except (OSError, ValueError):
                found = f"does not answer {path}"
            waiting.again(found)

    return wait


def _status(host: str, port: int, path: str, seconds: float) -> int:
    """That of the answer to a GET, whose first line is there in time. Raises OSError, ValueError."""
    import socket
    import time

    deadline = time.monotonic() + seconds
    line = b""
    with socket.create_connection((host, port), timeout=seconds) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("ascii"))
        while b"\n" not in line and len(line) < STATUS_LINE:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            piece = connection.recv(STATUS_LINE)
            if not piece:
                break
            line += piece
    version, code = line.split(b"\n", 1)[0].split()[:2]
    if not version.startswith(b"HTTP/1.") or not code.isdigit() or int(code) < 200:
        raise ValueError("no status line")
    return int(code)
