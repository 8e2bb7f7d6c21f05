"""A warmed Python interpreter in a box: `box.python`.

All that comes from the box is its own to say: it is bounded, JSON and nothing else, and each field is judged.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from estiva.errors import CommandNotFound, EngineError, EstivaError, Unsupported
from estiva.sdk import running, steps, values
from estiva.sdk.objects.command import Command
from estiva.sdk.objects.streams import DEVNULL, PIPE, Modes
from estiva.sdk.pipes import CHUNK
from estiva.sdk.result import CommandTimeout
from estiva.sdk.sandbox.inside import PROGRAM
from estiva.sdk.steps import Wait
from estiva.sdk.told import told

if TYPE_CHECKING:
    from estiva.sdk.objects.commands import Commands
    from estiva.sdk.steps import Task

R = TypeVar("R")

MAX_OUTPUT = 1 << 20  # bytes of what is printed, and of the value
LARGEST = 64 << 20  # bytes of the code
HEAD = 2 << 20  # bytes of an answer, without what was printed and the value
LENGTHS, FIRST_BYTES = ">IIII", 16  # with which it begins
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
        self._command: Command | None = None
        self._asked: Asked | None = None  # a run that has not been answered
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
        return self._do(self.running(code, timeout, max_output))

    @told
    def start(self) -> None:
        """Have the interpreter there, with the warm code run. Raises EstivaError."""
        self._do(self.starting())

    @told
    def close(self) -> None:
        """End the interpreter; the next run starts another."""
        steps.run(self.closing())

    def drop(self) -> None:
        """`close`, without waiting for its end."""
        command, self._command, self._asked = self._command, None, None
        if command is not None:
            command.abandon()

    def _do(self, task: Task[R]) -> R:
        with self._lock:
            try:
                return steps.run(task)
            except EstivaError:
                raise
            except BaseException:
                steps.run(self.stopping())
                raise

    # --- in steps ----------------------------------------------------------------------------------------

    def running(self, code: Any, timeout: Any, max_output: Any) -> Task[PythonRun]:
        """`run`, in steps. When they are left before the end, `stopping` comes next. Raises InvalidInput."""
        seconds = values.seconds(timeout)
        most = values.whole("max_output", max_output, 0, LARGEST)
        return self._running({"code": _code("code", code), "most": most, "timeout": seconds}, seconds, most)

    def _running(self, wanted: dict[str, Any], seconds: float | None, most: int) -> Task[PythonRun]:
        yield from self.stopping()  # nobody has, if the program was interrupted twice
        yield from self.starting()
        self._asked = Asked(wanted, most)
        answer = yield from self._answer(None if seconds is None else seconds + GRACE)
        if answer is None:
            raise CommandTimeout(f"the run was killed after {seconds} s", b"", b"", False)
        return _result(answer, seconds)

    def stopping(self) -> Task[None]:
        """End a run whose answer nobody has waited for. The interpreter stays, if it sees to it."""
        if self._asked is not None:
            if self._asked.warming:
                yield from self.closing()
            else:
                self._asked.cancel()
                with contextlib.suppress(EngineError):
                    yield from self._answer(GRACE)

    def starting(self) -> Task[None]:
        """`start`, in steps."""
        command = self._command
        if command is not None and command.poll() is None:
            return
        yield from self.closing()
        box, words, how = self._box, ["python3", "-c", PROGRAM], Modes(False, None, None, 0)
        wanted = running.plan(box.engine, box.id, words, env=None, user="", workdir="", privileged=False)
        self._command = command = Command(box.engine, wanted, (PIPE, PIPE, DEVNULL), None, how)
        self._asked = Asked({"warm": self._warm}, 0)
        yield Wait({command.channel: select.POLLIN})
        try:
            command.started()
        except EstivaError as error:
            self.drop()
            if not isinstance(error, CommandNotFound):
                raise
            raise Unsupported(
                f"there is no python3 in the image of box {box.id[:12]}",
                hint="box.python needs one: install it in the image",
            ) from None
        answer = yield from self._answer(FIRST)
        if answer is None:
            raise CommandTimeout(f"the warm code took more than {FIRST:g} s", b"", b"", False)
        failed = _error(answer.get("error"))
        if failed is not None:
            yield from self.closing()
            raise EngineError(
                f"the warm code failed with {failed.type}: {failed.message[:1000]}",
                hint=failed.traceback[-2000:],
            )

    def closing(self) -> Task[None]:
        """`close`, in steps."""
        command, self._command, self._asked = self._command, None, None
        if command is None:
            return
        try:
            command.kill()
            deadline = time.monotonic() + GRACE
            while command.poll() is None and (left := deadline - time.monotonic()) > 0:
                yield Wait({command.channel: select.POLLIN}, left)
        except (EstivaError, OSError):
            pass
        finally:
            command.abandon()

    def _answer(self, limit: float | None) -> Task[Any]:
        """The answer to what was asked, a dict; None where there was none in time: then the interpreter is
        ended. Raises EngineError."""
        asked, command = self._asked, self._command
        assert asked is not None and command is not None
        assert command.stdin is not None and command.stdout is not None
        problem = None
        try:
            answer = yield from asked.talk(command.stdin.fileno(), command.stdout.fileno(), limit)
            self._asked = None
            return answer
        except TimeoutError:
            pass
        except EngineError as error:
            problem = error
        except (BrokenPipeError, EOFError):
            problem = EngineError("the interpreter in the box has ended", hint="the next run starts another")
        except (ValueError, RecursionError):
            problem = EngineError("the interpreter in the box has said what it can't have")
        yield from self.closing()
        if problem is not None:
            raise problem
        return None


class Asked:
    """What the interpreter was asked, and has answered until now: `most` bytes may be each of its texts."""

    def __init__(self, wanted: dict[str, Any], most: int) -> None:
        self.warming = "warm" in wanted
        self.most = most
        self._out = _frame(wanted)
        self._came = bytearray()

    def cancel(self) -> None:
        """The run is to end. There is one answer, whatever it was that ended it."""
        self._out += _frame({"cancel": True})

    def talk(self, stdin: int, stdout: int, limit: float | None) -> Task[Any]:
        """Until the answer is there. May be left, and gone on with. Raises EOFError, TimeoutError, OSError,
        ValueError, RecursionError, EngineError."""
        deadline = None if limit is None else time.monotonic() + limit
        os.set_blocking(stdin, False)
        os.set_blocking(stdout, False)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            yield Wait({stdin: select.POLLOUT} if self._out else {stdout: select.POLLIN}, left)
            with contextlib.suppress(BlockingIOError):
                if self._out:
                    del self._out[: os.write(stdin, self._out[:CHUNK])]
                elif self._read(stdout):
                    return self._answer()

    def _read(self, stdout: int) -> bool:
        """Whether it is whole."""
        piece = os.read(stdout, self._missing())
        if not piece:
            raise EOFError
        self._came += piece
        return not self._missing()

    def _lengths(self) -> list[int]:
        found = [int(length) for length in struct.unpack(LENGTHS, self._came[:FIRST_BYTES])]
        most = HEAD, self.most, self.most, 4 * self.most
        if any(length > limit for length, limit in zip(found, most, strict=True)):
            raise EngineError("the interpreter in the box has sent more than it may")
        return found

    def _missing(self) -> int:
        whole = FIRST_BYTES
        if len(self._came) >= whole:
            whole += sum(self._lengths())
        return min(whole - len(self._came), 1 << 20)

    def _answer(self) -> dict[str, Any]:
        """What has come, as an object with "stdout", "stderr", "value" and "repr"."""
        parts, at = [], FIRST_BYTES
        for length in self._lengths():
            parts.append(bytes(self._came[at : at + length]))
            at += length
        head, stdout, stderr, text = parts
        answer = json.loads(head.decode("utf-8", "surrogatepass"), parse_constant=_refuse)
        if not isinstance(answer, dict):
            raise ValueError("no object")
        answer.update(stdout=stdout, stderr=stderr, value=None, repr="")
        if answer.get("kind") == "repr":
            answer["repr"] = text.decode("utf-8", "surrogatepass")
        elif text:
            if len(text) > self.most:
                raise ValueError("too long")
            answer["value"] = json.loads(text, parse_constant=_refuse)
        return answer


def _frame(wanted: dict[str, Any]) -> bytearray:
    data = json.dumps(wanted).encode("ascii")
    return bytearray(struct.pack(">I", len(data)) + data)


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
