"""A warmed Python interpreter in a box: `box.python`.

All that comes from the box is its own to say: it is bounded, JSON and nothing else, and each field is judged.
"""

from __future__ import annotations

import json
import os
import select
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from estiva.errors import CommandNotFound, EngineError, EstivaError, Unsupported
from estiva.sdk import values
from estiva.sdk.result import CommandTimeout
from estiva.sdk.sandbox.inside import PROGRAM
from estiva.sdk.told import told

if TYPE_CHECKING:
    from estiva.sdk.objects.commands import Commands
    from estiva.sdk.objects.popen import Popen

MAX_OUTPUT = 1 << 20  # bytes of what is printed, and of the value
LARGEST = 64 << 20  # bytes of the code
HEAD = 2 << 20  # bytes of an answer, without what was printed and the value
GRACE = 2.0  # seconds after a timeout in which the box is to say that it has ended the run
FIRST = 60.0  # seconds for the interpreter to start, and for the warm code


@dataclass(frozen=True, slots=True)
class PythonError:
    """An exception that a run ended with: the name of its type, str() of it, and the traceback as text.
    "Killed" and "Exited" are runs that ended without telling."""

    type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class PythonRun:
    """How a run ended. `value` is that of the last expression, if it is made of None, numbers, texts, lists
    and dicts with texts as keys (tuples become lists); else None, and `repr` has its repr(). `error` is None
    if none was raised. `stdout` and `stderr` are what was printed. `seconds` and `cpu` are seconds, `memory`
    is the peak, in bytes.
    """

    value: Any
    repr: str
    error: PythonError | None
    stdout: str
    stderr: str
    truncated: bool
    seconds: float
    cpu: float
    memory: int

    def check(self) -> PythonRun:
        """This one. Raises EngineError if it ended with an exception."""
        if self.error is not None:
            raise EngineError(f"the run ended with {self.error.type}: {self.error.message[:1000]}")
        return self


class Python:
    """An interpreter in a box, started with the first run; each run is a fork of it, one at a time."""

    def __init__(self, box: Commands, warm: str = "") -> None:
        self._box = box
        self._warm = warm
        self._process: Popen | None = None
        self._lock = threading.Lock()

    @told
    def run(self, code: str, *, timeout: float | None = None, max_output: int = MAX_OUTPUT) -> PythonRun:
        """Run Python code in the box: the value of its last expression, what it printed, its exception.

            assert box.python.run("import math; math.comb(5, 2)").value == 10

        Names that a run makes are not there for the next one, files are. After `timeout` seconds it is killed
        with all that it has started, and CommandTimeout raised, which has the output so far. `max_output`:
        bytes that are kept of each stream and of the value. Raises Unsupported where the image has no
        python3.
        """
        seconds = values.seconds(timeout)
        most = values.whole("max_output", max_output, 0, LARGEST)
        wanted = {"code": _code("code", code), "most": most, "timeout": seconds}
        with self._lock:
            process = self._started()
            limit = None if seconds is None else seconds + GRACE
            answer = self._ask(process, wanted, limit, most)
            if answer is None:
                raise CommandTimeout(f"the run was killed after {seconds} s", b"", b"", False)
        return _result(answer, seconds)

    def start(self) -> None:
        """Have the interpreter there, with the warm code run. Raises EstivaError."""
        with self._lock:
            self._started()

    def close(self) -> None:
        """End the interpreter; the next run starts another."""
        process, self._process = self._process, None
        if process is not None:
            try:
                process.kill()
                process.wait(GRACE)
            except (EstivaError, OSError):
                pass
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()

    def _started(self) -> Popen:
        process = self._process
        if process is not None and process.poll() is None:
            return process
        self.close()
        try:
            process = self._box.popen(["python3", "-c", PROGRAM], bufsize=0, stderr=-3)
        except CommandNotFound:
            raise Unsupported(
                f"there is no python3 in the image of box {self._box.id[:12]}",
                hint="box.python needs one: install it in the image",
            ) from None
        self._process = process
        answer = self._ask(process, {"warm": self._warm}, FIRST, 0)
        if answer is None:
            raise CommandTimeout(f"the warm code took more than {FIRST:g} s", b"", b"", False)
        error = _error(answer.get("error"))
        if error is not None:
            self.close()
            raise EngineError(
                f"the warm code failed with {error.type}: {error.message[:1000]}",
                hint=error.traceback[-2000:],
            )
        return process

    def _ask(self, process: Popen, wanted: dict[str, Any], limit: float | None, most: int) -> Any:
        """The answer, a dict; None where there was none in time: then the interpreter is ended. Raises
        EngineError."""
        deadline = None if limit is None else time.monotonic() + limit
        whole = False
        try:
            data = json.dumps(wanted).encode("ascii")
            assert process.stdin is not None and process.stdout is not None
            _write(process.stdin.fileno(), struct.pack(">I", len(data)) + data, deadline)
            out = process.stdout.fileno()
            lengths = struct.unpack(">IIII", _read(out, 16, deadline))
            if any(
                length > limit for length, limit in zip(lengths, (HEAD, most, most, 4 * most), strict=True)
            ):
                raise EngineError("the interpreter in the box has sent more than it may")
            head, stdout, stderr, text = (_read(out, length, deadline) for length in lengths)
            answer = json.loads(head.decode("utf-8", "surrogatepass"), parse_constant=_refuse)
            if not isinstance(answer, dict):
                raise ValueError
            answer.update(stdout=stdout, stderr=stderr, value=None, repr="")
            if answer.get("kind") == "repr":
                answer["repr"] = text.decode("utf-8", "surrogatepass")
            elif text:
                if len(text) > most:
                    raise ValueError
                answer["value"] = json.loads(text, parse_constant=_refuse)
            whole = True
            return answer
        except TimeoutError:
            return None
        except (BrokenPipeError, EOFError):
            raise EngineError(
                "the interpreter in the box has ended", hint="the next run starts another"
            ) from None
        except (ValueError, RecursionError):
            raise EngineError("the interpreter in the box has said what it can't have") from None
        finally:
            if not whole:
                self.close()


def _left(deadline: float | None) -> float | None:
    """Milliseconds for poll(2). Raises TimeoutError."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return min(left * 1000 + 1, 1e9)


def _write(fd: int, data: bytes, deadline: float | None) -> None:
    os.set_blocking(fd, False)
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    rest = memoryview(data)
    while rest:
        poll.poll(_left(deadline))
        try:
            rest = rest[os.write(fd, rest[: 1 << 16]) :]
        except BlockingIOError:
            pass


def _read(fd: int, count: int, deadline: float | None) -> bytes:
    """So many bytes. Raises EOFError, TimeoutError."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    data = bytearray()
    while len(data) < count:
        poll.poll(_left(deadline))
        os.set_blocking(fd, False)
        try:
            piece = os.read(fd, min(count - len(data), 1 << 20))
        except BlockingIOError:
            continue
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def _refuse(word: str) -> Any:
    raise ValueError(word)  # NaN, Infinity: no JSON


def _code(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise values.wrong(what, "text", value)
    if len(value) > LARGEST // 8:
        raise values.wrong(what, f"at most {LARGEST // 8} characters", f"{len(value)}")
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float:
    """A figure: finite, and not below 0."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e18:
        return float(value)
    return 0.0


def _error(found: Any) -> PythonError | None:
    if not isinstance(found, dict):
        return None
    return PythonError(*(_text(found.get(key)) for key in ("type", "message", "traceback")))


def _result(answer: dict[str, Any], seconds: float | None) -> PythonRun:
    stdout, stderr = answer["stdout"], answer["stderr"]
    truncated = answer.get("truncated") is True
    if answer.get("late") is True:
        raise CommandTimeout(
            f"the run was killed after {seconds} s",
            stdout,
            stderr,
            truncated,
        )
    error = _error(answer.get("error"))
    ended = answer.get("ended")
    if error is None and isinstance(ended, dict):
        number, status = int(_number(ended.get("signal"))), int(_number(ended.get("status")))
        if number:
            error = PythonError("Killed", f"killed by signal {number}", "")
        else:
            error = PythonError("Exited", f"the process ended with status {status}", "")
    return PythonRun(
        answer["value"],
        answer["repr"],
        error,
        stdout.decode(errors="replace"),
        stderr.decode(errors="replace"),
        truncated,
        _number(answer.get("seconds")),
        _number(answer.get("cpu")),
        int(_number(answer.get("memory"))),
    )
