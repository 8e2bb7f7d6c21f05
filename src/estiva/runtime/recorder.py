"""What a start does, as it does it: `estiva run --explain`. Loaded for that alone.

Nothing is described here. The functions that make system calls, those of estiva.linux and of os, are put
aside for ones that write down what they are called with and what comes of it; the steps are those that the
child names for its errors (sync.Channel.step), and the functions of the parent that a table names. A process
that is cloned meanwhile goes on by itself, and sends what it has written down as messages of kind TOLD over
its channel: before it waits for its parent, and before a filter could forbid it.
"""

from __future__ import annotations

import os
import time

from estiva import errors
from estiva.runtime import sync
from estiva.runtime.records import CALL, MESSAGE, MOST, STEP, packed, shown, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from estiva.runtime.records import Record

TOLD = b"T"
CHILD = "init"
_PACKET = 6000  # bytes of a message, which sync.py takes to 8192
_NAMES = {
    sync.MAPPED: "MAPPED",
    sync.CONSOLE: "CONSOLE",
    sync.READY: "READY",
    sync.GO: "GO",
    sync.HOOKS: "HOOKS",
    sync.ERROR: "ERROR",
    sync.LEAVE: "LEAVE",
}
# of os: what changes something; an object that is an fd is told by the name that it was opened by
OS = (
    ("mkdir", 0), ("rmdir", 0), ("rename", 1), ("replace", 1), ("symlink", 1), ("link", 1), ("mknod", 0),
    ("chown", 0), ("chmod", 0), ("chdir", 0), ("fchdir", 0), ("chroot", 0), ("dup2", 1), ("setsid", -1),
    ("setresuid", 0), ("setresgid", 0), ("setgroups", 0), ("fchown", 0),
)  # fmt: skip
_FD = "/proc/self/fd/"
_PATHS = ("openat2", "open_tree", "move_mount", "fsmount", "pivot_root", "execveat")  # whose flags say little
_FDS = {"fchdir": ("fd",), "dup2": ("fd", "fd2"), "fchown": ("fd",)}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# wrapper -> the system call that it is, where the names differ
CALLS = {
    **dict.fromkeys(("fsconfig_string", "fsconfig_flag", "fsconfig_fd", "fsconfig_create"), "fsconfig"),
    "clone_tree": "open_tree",
    **dict.fromkeys(("open_in_root", "mkdir_in_root", "create_in_root"), "openat2"),
    **dict.fromkeys(
        ("set_dumpable", "set_keepcaps", "no_new_privs", "bounding_drop", "ambient_clear", "ambient_raise"),
        "prctl",
    ),
    "install": "seccomp",
    "loopback_up": "ioctl",
    **dict.fromkeys(("close_all_but", "keep_only"), "close_range"),
    "exchange": "sendmsg",
    "memfd": "memfd_create",
    "join_session_keyring": "keyctl",
}
_SILENT = {
    *(
        "check",
        "dumpable",
        "bounding_read",
        "known_capabilities",
        "capget",
        "may",
        "fstatfs",
        "is_kernel",
        "prctl",
    ),
    *("filter_allows", "reopen_regular", "read_regular", "read_in_root", "context_log", "execve_check"),
}


class Recorder:
    """Of one process and those that are cloned from it. `steps` are (owner, name of its function, words)."""

    def __init__(self, who: str, steps: Iterable[tuple[Any, str, str]] = ()) -> None:
        self.who = who
        self.pid = os.getpid()
        self.records: list[Record] = []
        self.made = 0  # records so far, so that only the innermost of nested calls is told
        self.step: tuple[int, str] | None = None  # of a child: when it began, and what it is called
        self.mute = False  # a filter forbids to send
        self.names: dict[int, str] = {}  # fd -> what it was opened by
        self.may_write: Callable[[bytes], bool] = lambda bpf: False
        self.undo: list[tuple[Any, str, Any]] = []
        self._calls()
        for owner, name, words in steps:
            self._put(owner, name, self._stepped(getattr(owner, name), words))
        self._channels()

    # --- putting functions aside, and back --------------------------------------------------------------

    def _put(self, owner: Any, name: str, value: Any) -> None:
        self.undo.append((owner, name, owner.__dict__.get(name, getattr(owner, name, None))))
        setattr(owner, name, value)

    def end(self) -> None:
        """All is as it was."""
        while self.undo:
            owner, name, value = self.undo.pop()
            if value is None:
                delattr(owner, name)
            else:
                setattr(owner, name, value)

    def _calls(self) -> None:
        import _socket

        from estiva.linux import fs, mount, namespace, process
        from estiva.linux.libc import SYS_write
        from estiva.linux.net import netlink

        self.may_write = lambda bpf: process.filter_allows(bpf, SYS_write)

        for module in (mount, namespace, fs, process):
            for name, value in list(vars(module).items()):
                ours = getattr(value, "__module__", "") == module.__name__
                if (
                    callable(value)
                    and ours
                    and name[0] != "_"
                    and name not in _SILENT
                    and hasattr(value, "__code__")
                ):
                    self._put(module, name, self._called(value, CALLS.get(name, name)))
        self._put(netlink.Socket, "exchange", self._called(netlink.Socket.exchange, "sendmsg"))
        self._put(_socket, "sethostname", self._called(_socket.sethostname, "sethostname"))
        for name, at in OS:
            self._put(os, name, self._called(getattr(os, name), name, at))
        self.kinds = dict(namespace.NAMESPACES)
        self._put(os, "open", self._opened(os.open))
        self._put(os, "close", self._closed(os.close))
        self._put(os, "write", self._written(os.write))
        self._put(os, "execve", self._executed(os.execve))

    def _channels(self) -> None:
        channel = sync.Channel
        self._put(channel, "step", property(lambda _: self.step[1] if self.step else "", self._begin))
        self._put(channel, "send", self._sent(channel.send))
        self._put(channel, "expect", self._expected(channel.expect))
        self._put(channel, "receive", self._received(channel.receive))
        self._put(channel, "report", self._reported(channel.report))

    # --- writing down -----------------------------------------------------------------------------------

    def note(self, began: int, kind: str, text: str, thing: str = "", result: str = "") -> None:
        """A record that ends now."""
        self._here()
        self.made += 1
        if self.who == CHILD and self._channel is None:
            return  # no first process: one that goes on, and has nobody to tell
        if len(self.records) < MOST:
            took = time.time_ns() - began
            self.records.append((began, took, self.who, kind, text, shown(thing), shown(result)))

    def _here(self) -> None:
        """In a child that was cloned meanwhile: from here on its records are its own."""
        pid = os.getpid()
        if pid != self.pid:
            self.pid, self.who = pid, CHILD
            self.records, self.step = [], None

    def _called(self, function: Callable[..., Any], name: str, at: int = -2) -> Callable[..., Any]:
        code = getattr(function, "__code__", None)
        words = code.co_varnames[: code.co_argcount] if code is not None else _FDS.get(name, ())
        fds = {place for place, word in enumerate(words) if "fd" in word}

        def call(*arguments: Any, **keywords: Any) -> Any:
            began, made, pid = time.time_ns(), self.made, self.pid
            try:
                value = function(*arguments, **keywords)
            except OSError as error:
                if self.made == made:
                    self.note(began, CALL, name, self._object(name, arguments, at, fds), errors.reason(error))
                raise
            if name == "clone3" and os.getpid() != pid:
                return value  # in the child: the parent tells
            if self.made == made:
                self.note(began, CALL, name, self._object(name, arguments, at, fds), self._result(value))
                if type(value) is int and value > 2:
                    self.names[value] = self._named(arguments, fds)
            if name == "seccomp" and arguments:
                self._filtered(arguments[0])
            return value

        return call

    def _filtered(self, bpf: object) -> None:
        self.mute = isinstance(bpf, bytes) and not self.may_write(bpf)

    def _object(self, name: str, arguments: tuple[Any, ...], at: int, fds: set[int]) -> str:
        """What a call is about: its words, and what its fds were opened by."""
        if name in ("clone3", "unshare", "setns"):
            flags = next((each for each in reversed(arguments) if type(each) is int), 0)
            return " ".join(kind for kind, (flag, _) in self.kinds.items() if flags & flag)
        chosen = arguments if at < -1 else arguments[: at + 1]
        words = [
            self.names.get(value, "") if place in fds and type(value) is int else self._word(value)
            for place, value in enumerate(chosen)
            if name not in _PATHS or place in fds or isinstance(value, (str, bytes))
        ]
        return " ".join(word for word in words if word)

    def _named(self, arguments: tuple[Any, ...], fds: set[int]) -> str:
        """What an fd that a call gave is called from then on: by a path, or as the fd that it is of."""
        words = [self._word(value) for value in arguments if isinstance(value, (str, bytes)) and value]
        known = [self.names.get(arguments[place], "") for place in fds if place < len(arguments)]
        return next((word for word in (*words, *known) if word), "")

    def _word(self, value: Any) -> str:
        if isinstance(value, bytes):
            return os.fsdecode(value) if len(value) < 200 else f"({len(value)} bytes)"
        if type(value) is int:
            return str(value) if abs(value) < 1 << 16 else hex(value)
        if isinstance(value, str) and value.startswith(_FD) and value[len(_FD) :].isdigit():
            return self.names.get(int(value[len(_FD) :])) or value
        if isinstance(value, (str, bool)):
            return str(value)
        if isinstance(value, (tuple, list)):
            return ",".join(map(self._word, value[:20]))
        return str(getattr(value, "what", ""))

    def _result(self, value: Any) -> str:
        return f"= {value}" if type(value) is int else ""

    def _opened(self, function: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *arguments: Any, **keywords: Any) -> int:
            began, name = time.time_ns(), os.fsdecode(path)
            folder = keywords.get("dir_fd")
            if folder is not None:
                name = f"{self.names.get(folder, folder)}/{name}"
            try:
                fd = function(path, flags, *arguments, **keywords)
            except OSError as error:
                if flags & _WRITES:
                    self.note(began, CALL, "open", name, errors.reason(error))
                raise
            self.names[fd] = name
            return fd

        return call

    def _closed(self, function: Callable[[int], None]) -> Callable[[int], None]:
        def call(fd: int) -> None:
            self.names.pop(fd, None)
            function(fd)

        return call

    def _written(self, function: Callable[..., int]) -> Callable[..., int]:
        def call(fd: int, data: Any) -> int:
            began = time.time_ns()
            name = self.names.get(fd, "")
            words = f"{name} <- {self._word(bytes(data))}" if name else ""
            try:
                count = function(fd, data)
            except OSError as error:
                if name:
                    self.note(began, CALL, "write", words, errors.reason(error))
                raise
            if name:
                self.note(began, CALL, "write", words)
            return count

        return call

    def _executed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, arguments: Any, env: Any) -> Any:
            began = time.time_ns()
            self._finish_step("")
            self.note(began, CALL, "execve", " ".join(map(str, arguments)))
            self._tell()
            try:
                return function(path, arguments, env)
            except OSError as error:
                self.note(began, CALL, "execve", " ".join(map(str, arguments)), errors.reason(error))
                raise

        return call

    def _stepped(self, function: Callable[..., Any], words: str) -> Callable[..., Any]:
        """A step of the parent's: told with its beginning, so that its calls come after it."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            began, place = time.time_ns(), len(self.records)
            result = ""
            try:
                return function(*arguments, **keywords)
            except Exception as error:
                result = str(error)
                raise
            finally:
                if os.getpid() == self.pid:
                    took = time.time_ns() - began
                    self.records.insert(place, (began, took, self.who, STEP, words, "", shown(result)))

        return call

    # --- the child's side, and what is said -------------------------------------------------------------

    _channel: sync.Channel | None = None

    def _begin(self, channel: sync.Channel, words: str) -> None:
        """The child, or a channel that is made, says what it does next."""
        self._here()
        if self.who != CHILD:
            return
        self._channel = channel
        self._finish_step("")
        self._tell()
        self.step = (time.time_ns(), words)

    def _finish_step(self, result: str) -> None:
        if self.step is not None and self.step[1]:
            began, words = self.step
            self.records.append((began, time.time_ns() - began, self.who, STEP, words, "", shown(result)))

    def _tell(self) -> None:
        """Send what has been written down to the parent."""
        channel, records = self._channel, self.records
        if self.who != CHILD or channel is None or self.mute or channel.fd < 0:
            return
        self.records = []
        packet = b""
        for record in records:
            line = packed(record)
            if packet and len(packet) + len(line) > _PACKET:
                self._send(channel, packet)
                packet = b""
            packet += line
        if packet:
            self._send(channel, packet)

    def _send(self, channel: sync.Channel, packet: bytes) -> None:
        put, self.names[channel.fd] = self.names.pop(channel.fd, ""), ""
        try:
            os.write(channel.fd, TOLD + packet)
        except OSError:
            pass
        self.names[channel.fd] = put

    def _sent(self, function: Callable[..., None]) -> Callable[..., None]:
        def call(channel: sync.Channel, kind: bytes, payload: bytes = b"") -> None:
            began = time.time_ns()
            function(channel, kind, payload)
            self.note(began, MESSAGE, f"{_NAMES.get(kind, '?')} ->")
            self._tell()

        return call

    def _expected(self, function: Callable[..., None]) -> Callable[..., None]:
        def call(channel: sync.Channel, kind: bytes) -> None:
            self._tell()
            began = time.time_ns()
            function(channel, kind)
            self.note(began, MESSAGE, f"<- {_NAMES.get(kind, '?')}")

        return call

    def _received(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(channel: sync.Channel) -> Any:
            began = time.time_ns()
            while True:
                kind, payload, fd = function(channel)
                if kind == TOLD:
                    self.records += unpacked(payload)[: max(0, 2 * MOST - len(self.records))]
                    continue
                words = _NAMES.get(kind, "?") if kind else "end of file: execve has closed the socket"
                self.note(began, MESSAGE, f"<- {words}")
                return kind, payload, fd

        return call

    def _reported(self, function: Callable[..., None]) -> Callable[..., None]:
        def call(channel: sync.Channel, error: BaseException) -> None:
            self._here()
            words = self.step[1] if self.step else ""
            self._finish_step(str(error))
            self.step = (0, "")
            self._tell()
            self.step = (0, words)  # for the error, which names it
            function(channel, error)

        return call
