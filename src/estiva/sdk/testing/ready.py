"""What a service for a test is, and the waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from estiva.errors import Conflict, EngineError, EstivaError, oneline

if TYPE_CHECKING:
    from estiva.sdk.objects.container import Container

HOST = "127.0.0.1"
TIMEOUT = 60.0  # seconds until it has to be ready
LINES = 20  # of its log in an error
LOOK_AGAIN = 0.02  # seconds
LONGEST = 5.0  # seconds of one try


class NotReady(EngineError):
    """A service has not become ready: it has ended, or took too long. `log` is the end of what it wrote."""

    def __init__(self, message: str, log: str = "", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.log = log

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.message, self.log), self.__dict__


class Service:
    """A container that is ready. `host` and `port(80)` are where this machine reaches it."""

    host = HOST

    def __init__(self, box: Container, url: str = "") -> None:
        self.box = box
        self._url = url

    def port(self, number: int | None = None) -> int:
        """The port of this machine for a port of the container; without one, for its only one, or the first.
        Raises Conflict."""
        ports = self.box.ports
        for found in ports:
            if number is None or found.container == number:
                return found.host
        what = "no port" if number is None else f"no port {number}"
        raise Conflict(f"service {self.box.name} publishes {what}", hint="ports=[...] of service()")

    @property
    def address(self) -> str:
        """HOST:PORT of its first port."""
        return f"{self.host}:{self.port()}"

    @property
    def url(self) -> str:
        """Where a client finds it, if its kind is known: postgresql://..., redis://..., http://..."""
        return self._url.format(port=self.port()) if self._url else f"http://{self.address}"

    def __repr__(self) -> str:
        return f"<estiva.testing.Service {self.box.short_id}>"


class Waiting:
    """One wait for a service: until when, and that it still runs."""

    def __init__(self, service: Service, timeout: float) -> None:
        self.service = service
        self.box = service.box
        self.timeout = timeout
        self.deadline = time.monotonic() + timeout

    @property
    def left(self) -> float:
        """Seconds, for one try; `again` tells when there are none."""
        return min(max(0.1, self.deadline - time.monotonic()), LONGEST)

    def again(self, what: str) -> None:
        """Before another look. Raises NotReady, saying `what` is not so, when it has ended or time is up."""
        if not self.box.running:
            raise self._failed("ended before it was ready: " + "; ".join(self.box.why()))
        if time.monotonic() >= self.deadline:
            raise self.late(what)
        time.sleep(LOOK_AGAIN)

    def late(self, what: str) -> NotReady:
        """The error of one that took too long."""
        try:
            problems = self.box.doctor().problems
        except EstivaError:
            problems = ()
        return self._failed(f"{what} after {self.timeout:g} s", "; ".join(problems))

    def _failed(self, what: str, hint: str = "") -> NotReady:
        try:
            log = self.box.logs(tail=LINES).decode(errors="replace")
        except EstivaError:
            log = ""
        last = oneline(log.strip().rpartition("\n")[2])
        said = f", its last words: {last}" if last else ""
        return NotReady(f"service {self.box.name} {what}{said}", log, hint=hint)


Wait = Callable[[Waiting], object]
