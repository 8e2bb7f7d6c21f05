"""Writes the file that quickload.py reads: at a first start, or by `python3 -m estiva.boot.writer PROGRAM`.

Many may start at once, on the same files: one takes the lock of the folder and writes, aside; the others
start without the file. What a killed writer left aside is the next one's to overwrite.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import sys

from estiva.boot import quickload
from estiva.boot.modules import MODULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.boot.quickload import Entry

MODULES_NAME = "estiva.boot.modules"


def try_to_write(program: str) -> bool:
    """Whether it was written, by this process; False if it can't be, or another is just writing it."""
    try:
        write(program, wait=False)
        return True
    except OSError:
        return False


def write(program: str, wait: bool = True) -> None:
    """Write the file of `program`. Raises OSError; PermissionError where it would not be trusted."""
    os.makedirs(quickload.FOLDER, mode=0o755, exist_ok=True)
    folder = os.open(quickload.FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not quickload.private(os.fstat(folder), os.stat(quickload.BOOT).st_uid):
            raise PermissionError(f"{quickload.FOLDER} can be written to by others")
        fcntl.flock(folder, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        file = quickload.path(program)
        aside = f"{file}.new"
        try:
            os.unlink(aside)
        except FileNotFoundError:
            pass
        out = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(out, 0o644)  # whatever the umask
            with open(out, "wb", closefd=False) as stream:
                stream.writelines(content(program))
            os.fsync(out)
            os.rename(aside, file)
        except BaseException:
            os.unlink(aside)
            raise
        finally:
            os.close(out)
    finally:
        os.close(folder)


def content(program: str) -> list[bytes]:
    """The file in parts."""
    modules: dict[str, Entry] = {}
    known = {name: sys.intern(name) for name in MODULES[program]}  # marshal writes the same object once
    codes: list[bytes] = []
    offset = 0
    for name in (*MODULES[program], MODULES_NAME):  # and with a changed list the file is out of date
        file = f"{quickload.SOURCE}/{name.replace('.', '/')}"
        package = os.path.isdir(file)
        file += "/__init__.py" if package else ".py"
        try:
            found, source, code = compiled(file)
        except FileNotFoundError:
            continue
        below = file.removeprefix(f"{quickload.SOURCE}/")
        needs = needed(source.decode(), known)
        modules[name] = (package, below, found.st_mtime_ns, found.st_size, offset, len(code), needs)
        codes.append(code)
        offset += len(code)
    launcher = f"{quickload.BOOT}/{quickload.LAUNCHERS[program]}.py"
    found, _, code = compiled(launcher, cached=False)
    index = marshal.dumps(modules)
    head = [header(found), code, quickload.MARK, len(index).to_bytes(8, "little"), index]
    if sum(map(len, head)) > quickload.HEAD:
        raise OSError(f"{program}: the index of its modules is longer than {quickload.HEAD} bytes")
    return head + codes


def needed(source: str, known: dict[str, str]) -> tuple[str, ...]:
    """Which of the `known` modules a module imports whenever it is loaded: by lines that begin with it."""
    found: dict[str, None] = {}
    lines = iter(source.splitlines())
    for line in lines:
        if not line.startswith(("from estiva.", "from estiva import ")):
            continue
        words = line.partition("#")[0]
        while "(" in words and ")" not in words:
            words += next(lines, ")").partition("#")[0]
        module, _, names = words.removeprefix("from ").partition(" import ")
        for word in names.replace("(", " ").replace(")", " ").split(","):
            if word.strip():
                inside = f"{module}.{word.split()[0]}"
                name = inside if inside in known else module
                if name in known:
                    found[known[name]] = None
    return tuple(found)


def compiled(path: str, cached: bool = True) -> tuple[os.stat_result, bytes, bytes]:
    """A source file: what it is, its text, its code in marshal's form. Raises OSError."""
    with open(path, "rb") as file:
        found, source = os.fstat(file.fileno()), file.read()
    code = pyc(path, found) if cached else b""
    return found, source, code or marshal.dumps(compile(source, path, "exec", dont_inherit=True))


def pyc(path: str, source: os.stat_result) -> bytes:
    """The code in the .pyc of the source file at `path`; nothing if there is none made after it."""
    folder, _, name = path.rpartition("/")
    try:
        with open(f"{folder}/__pycache__/{name[:-3]}.{sys.implementation.cache_tag}.pyc", "rb") as file:
            found, data = os.fstat(file.fileno()), file.read()
    except OSError:
        return b""
    # its header has whole seconds: a source may have changed in the one that it was compiled in
    good = found.st_mtime_ns > source.st_mtime_ns and quickload.private(found, source.st_uid)
    return data[16:] if good and data.startswith(header(source)) else b""


def header(source: os.stat_result) -> bytes:
    """The first 16 bytes of a .pyc that is checked by the source's time and size (PEP 552)."""
    numbers = (0, int(source.st_mtime), source.st_size)
    return quickload.MAGIC + b"".join((number & 0xFFFFFFFF).to_bytes(4, "little") for number in numbers)


if __name__ == "__main__":
    write(sys.argv[1])
