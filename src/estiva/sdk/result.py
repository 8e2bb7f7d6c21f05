"""How a command ended."""

from __future__ import annotations

from estiva.errors import EngineError, EstivaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.life.end_types import Exit as Certificate
    from estiva.sdk.objects.shown import Exit


class Result:
    """How a command ended: `status` (128+n for a signal), `stdout` and `stderr` as bytes, `oom` if it was
    killed for its memory limit, `truncated` if it wrote more than `max_output` bytes to one of them."""

    __slots__ = ("_certificate", "oom", "status", "stderr", "stdout", "truncated")

    def __init__(
        self,
        status: int,
        stdout: bytes,
        stderr: bytes,
        oom: bool = False,
        truncated: bool = False,
        certificate: Certificate | None = None,
    ) -> None:
        self.status = status
        self._certificate = certificate
        self.stdout = stdout
        self.stderr = stderr
        self.oom = oom
        self.truncated = truncated

    @property
    def exit(self) -> Exit:
        """More of one that did not end with 0: who or what was its end, as State.Exit of inspect."""
        from estiva.sdk.objects.shown import exit_of

        return exit_of({"ExitCode": self.status, "OOMKilled": self.oom, "Exit": self._certificate})

    @property
    def output(self) -> str:
        """stdout as text."""
        return self.stdout.decode(errors="replace")

    def check(self) -> Result:
        """This result. Raises EngineError unless the status is 0."""
        if self.status:
            last = self.stderr[-4096:].decode(errors="replace").strip().rpartition("\n")[2]
            raise EngineError(f"the command ended with status {self.status}" + (f": {last}" if last else ""))
        return self

    def _repr_html_(self) -> str:
        from estiva.sdk import html

        return html.result(self)

    def __repr__(self) -> str:
        return f"Result(status={self.status}, stdout={self.stdout!r}, stderr={self.stderr!r})"


class BuildError(EngineError):
    """A command of a build has failed: `log` is what it has written (the last MiB), `step` is "2/9", `line`
    that of the Dockerfile, `status` its exit status."""

    def __init__(
        self, message: str, log: str = "", step: str = "", line: int = 0, status: int = 0, *, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.log = log
        self.step = step
        self.line = line
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.message, self.log, self.step, self.line, self.status), self.__dict__


class CommandTimeout(EstivaError, TimeoutError):
    """The command was killed, with all that it had started, after its `timeout`: `stdout`, `stderr` and
    `truncated` are as a Result's, up to then."""

    def __init__(
        self,
        message: str,
        stdout: bytes = b"",
        stderr: bytes = b"",
        truncated: bool = False,
        *,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.stdout = stdout
        self.stderr = stderr
        self.truncated = truncated

    @property
    def output(self) -> str:
        """stdout as text."""
        return self.stdout.decode(errors="replace")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.message, self.stdout, self.stderr, self.truncated), self.__dict__
