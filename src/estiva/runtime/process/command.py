"""Finding, checking and executing the container's command, with the reason when that can't be. What can be
done about it is for the parent to find out: launch/whynot.py."""

from __future__ import annotations

import errno
import os
import stat
from _struct import unpack_from

from estiva.errors import CommandNotExecutable, CommandNotFound, EstivaError, oneline
from estiva.linux import fs
from estiva.linux.libc import AT_FDCWD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HANDLERS = "/proc/sys/fs/binfmt_misc/status"  # there when binfmt_misc is in use

_HEADER = 1024
_SHEBANG_LIMIT = 256  # the kernel's BINPRM_BUF_SIZE
_MAX_INTERPRETERS = 5
_PT_INTERP = 3
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_MACHINES = {
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64le",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}


def environment(entries: Sequence[str]) -> dict[bytes, bytes]:
    """process.env as execve takes it: the last of equal names counts; what is no NAME=VALUE is left out."""
    result: dict[bytes, bytes] = {}
    for entry in entries:
        name, equals, value = os.fsencode(entry).partition(b"=")
        if equals and name and b"\0" not in name and b"\0" not in value:
            result[name] = value
    return result


def find(name: str, path: str) -> str:
    """The file that `name` means: itself with a slash, else the first executable of that name on `path`.

    Runs inside the container with the process's own credentials. Raises CommandNotFound,
    CommandNotExecutable.
    """
    if "/" in name:
        _check_file(name)
        return name
    denied = ""
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        try:
            mode = os.stat(candidate).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode):
            if os.access(candidate, os.X_OK, effective_ids=True):
                return candidate
            denied = denied or candidate
    if denied:
        raise CommandNotExecutable(f'exec: "{oneline(name)}": {oneline(denied)} is not executable')
    raise CommandNotFound(f'exec: "{oneline(name)}": executable file not found in $PATH')


def _check_file(name: str) -> None:
    try:
        status = os.stat(name)
    except OSError as error:
        raise _failure(name, error) from None
    if stat.S_ISDIR(status.st_mode):
        raise CommandNotExecutable(f'exec: "{oneline(name)}": is a directory')
    if not stat.S_ISREG(status.st_mode):
        raise CommandNotExecutable(f'exec: "{oneline(name)}": is not a regular file')
    if not os.access(name, os.X_OK, effective_ids=True):  # with CAP_DAC_OVERRIDE, where it is given
        raise CommandNotExecutable(f'exec: "{oneline(name)}": permission denied')


def inspect(path: str, args: Sequence[str], contested: bool, handlers: bool) -> tuple[int, list[str]]:
    """Follow a command to the program that the kernel will really run, and refuse what can't or must not be:
    (its fd, its arguments), for `execute`. The fd is -1 where the name is as good.

    The kernel reports a missing interpreter as if the script itself were missing, so say which it is. And a
    command or a `#!` line that leads through a magic link (/proc/self/exe) would run the host's own
    interpreter, whose file the container could then write to (K4, CVE-2019-5736). That is refused, and where
    others may swap the files meanwhile (`contested`) the kernel is not given a name to look up again: it gets
    the fd of the ELF file that was looked at, with the arguments that it would itself have made of a script's
    first line (execve(2), "Interpreter scripts"). As the fd is close-on-exec, it takes it for nothing else
    should it be rewritten as a script. Not so programs of other machines where there are `handlers` for such
    (binfmt_misc), which need a name. Raises CommandNotFound, CommandNotExecutable.
    """
    current, argv = path, list(args)
    for _ in range(_MAX_INTERPRETERS + 1):
        contested = contested or not current.startswith("/")
        try:
            fd, contested = _open(current, contested)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _magic(path, current) from None
            raise _failure(path, error, current if current != path else "") from None
        try:
            header = os.read(fd, _HEADER)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            return fd, argv  # execute-only: the kernel may run what we may not read
        if header.startswith(b"\x7fELF"):
            wanted = loader(fd, header)
            if wanted:
                _check_loader(path, wanted, header)
        line = shebang(header)
        if not line:
            if contested and not (handlers and of_another_machine(header)):
                return fd, argv
            return -1, list(args)  # by its name the kernel itself puts the interpreters before them
        os.close(fd)
        _check_loader(path, line[0], header)
        argv[:1] = [*line, current]
        current = line[0]
    raise CommandNotExecutable(f'exec: "{oneline(path)}": too many interpreters of interpreters')


def _open(name: str, contested: bool) -> tuple[int, bool]:
    """An fd of a program, for reading if that is allowed, and whether others may swap what `name` means.

    Without others in the container its root is its own; what is mounted in it may be shared.
    """
    resolve = fs.RESOLVE_NO_MAGICLINKS
    if not contested:
        try:
            return fs.openat2(AT_FDCWD, name, _READ, 0, resolve | fs.RESOLVE_NO_XDEV), False
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EACCES):
                raise
    try:
        return fs.openat2(AT_FDCWD, name, _READ, 0, resolve), True
    except OSError as error:
        if error.errno != errno.EACCES:
            raise
    return fs.openat2(AT_FDCWD, name, os.O_PATH, 0, resolve), True


def of_another_machine(header: bytes) -> bool:
    """Whether this kernel doesn't run such a file by itself."""
    machine = _MACHINES.get(int.from_bytes(header[18:20], "little"), "") if header[:4] == b"\x7fELF" else ""
    here = os.uname().machine
    return machine != here and (here, machine) not in (("x86_64", "i386"), ("aarch64", "arm"))


def _check_loader(path: str, loader: str, header: bytes) -> None:
    """That the program which a script or an ELF file asks for is there. Raises as `inspect` does."""
    try:
        os.close(fs.openat2(AT_FDCWD, loader, os.O_PATH, 0, fs.RESOLVE_NO_MAGICLINKS))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _magic(path, loader) from None
        raise _missing(path, loader, header) from None


def _magic(path: str, through: str) -> CommandNotExecutable:
    return CommandNotExecutable(
        f'exec: "{oneline(path)}": {oneline(through)} leads through a magic link of /proc'
    )


def shebang(header: bytes) -> list[str]:
    """The interpreter and, as one word, the rest of a first line `#!INTERPRETER REST`; [] without one."""
    if not header.startswith(b"#!"):
        return []
    line = header[2:_SHEBANG_LIMIT].split(b"\n", 1)[0].split(b"\0", 1)[0].strip(b" \t")
    at = next((i for i, byte in enumerate(line) if byte in b" \t"), len(line))
    return [os.fsdecode(word) for word in (line[:at], line[at:].strip(b" \t")) if word]


def loader(fd: int, header: bytes) -> str:
    """The PT_INTERP of an ELF file (elf(5)), "" for a static one or a malformed header."""
    try:
        wide = header[4] == 2
        order = "<" if header[5] == 1 else ">"
        if wide:
            (table,) = unpack_from(order + "Q", header, 32)
            size, count = unpack_from(order + "HH", header, 54)
        else:
            (table,) = unpack_from(order + "I", header, 28)
            size, count = unpack_from(order + "HH", header, 42)
        data = header if table + size * count <= len(header) else b""
        if not data:
            data, table = os.pread(fd, min(size * count, 65536), table), 0
        for index in range(min(count, 128)):
            at = table + index * size
            (kind,) = unpack_from(order + "I", data, at)
            if kind == _PT_INTERP:
                if wide:
                    (offset,) = unpack_from(order + "Q", data, at + 8)
                    (length,) = unpack_from(order + "Q", data, at + 32)
                else:
                    (offset,) = unpack_from(order + "I", data, at + 4)
                    (length,) = unpack_from(order + "I", data, at + 16)
                return os.fsdecode(os.pread(fd, min(length, 4096), offset).split(b"\0", 1)[0])
    except (IndexError, ValueError, OSError, OverflowError):
        pass
    except Exception as error:  # struct.error, whose module is not worth its import
        if type(error).__name__ != "error":
            raise
    return ""


def _missing(path: str, loader: str, header: bytes) -> CommandNotFound:
    name, want = oneline(path), oneline(loader)
    if loader.endswith("\r"):
        words = f'its first line asks for the interpreter "{want}"'
    else:
        kind = "interpreter" if header.startswith(b"#!") else "loader"
        words = f"its {kind} {want} is not in the container: no such file or directory"
    return CommandNotFound(f'exec: "{name}": {words}')


def _failure(path: str, error: OSError, through: str = "") -> EstivaError:
    """An errno of stat, open or execve as the error for the user: 127 when it isn't there, else 126."""
    name = oneline(path)
    words = os.strerror(error.errno or 0).lower()
    if through:
        words = f"{oneline(through)}: {words}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return CommandNotFound(f'exec: "{name}": {words}')
    if error.errno == errno.ENOEXEC:
        return _format_error(path)
    return CommandNotExecutable(f'exec: "{name}": {words}')


def _format_error(path: str) -> CommandNotExecutable:
    name = oneline(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            header = os.read(fd, 64)
        finally:
            os.close(fd)
    except OSError:
        header = b""
    here = os.uname().machine
    if header.startswith(b"\x7fELF") and len(header) >= 20:
        (machine,) = unpack_from("<H" if header[5] == 1 else ">H", header, 18)
        built = _MACHINES.get(machine, f"machine {machine}")
        if built != here:
            return CommandNotExecutable(
                f'exec: "{name}": it is built for {built}, and this machine is {here}',
                hint="pull or build the image for this machine's platform",
            )
    elif header and not header.startswith(b"#!"):
        return CommandNotExecutable(
            f'exec: "{name}": exec format error: neither a program nor a script with a #! line',
            hint="put #!/bin/sh on its first line",
        )
    return CommandNotExecutable(f'exec: "{name}": exec format error')


def execute(path: str, arguments: Sequence[str], env: dict[bytes, bytes], fd: int = -1) -> None:
    """execve(2) of `path`, or with an fd of `inspect` execveat(2) of that; returns only by raising
    CommandNotFound or CommandNotExecutable.
    """
    try:
        os.execve(path if fd < 0 else fd, list(arguments), env)
    except OSError as error:
        raise _failure(path, error) from None
    except ValueError as error:
        raise CommandNotExecutable(f'exec: "{oneline(path)}": {error}') from None
