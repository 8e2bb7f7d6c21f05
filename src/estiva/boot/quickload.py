"""The modules of a cold start from one file: no search for each, and a third of the system calls.

It is to many modules what a .pyc is to one, and it is one: the launcher's own, in __pycache__, where
installers look for what they have to remove. Behind the launcher's code, which nobody reads there, come a
mark, the length of an index in 8 bytes, the index, as marshal has it, and the code of each module. A module
is used only if its source has the size and the time that it was compiled from; for what is missing or older
the usual import takes over. The first start after an installation or a change writes the file anew where it
may (writer.py).

What is in the file is executed: nobody may be able to write to it or its folder but its owner, who is root,
this user or the owner of the sources. Measured: 3 to 4 ms of a start of 30; 15 ms once for writing it.
"""

from __future__ import annotations

import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _frozen_importlib import ModuleSpec
    from types import ModuleType

    # package?, path below the source folder, mtime in ns, size, offset and length of the code
    Entry = tuple[bool, str, int, int, int, int]

LAUNCHERS = {
    "estiva": "launcher",
    "estiva-oci": "launcher_oci",
}  # program -> its launcher beside this module
HEAD = 48 << 10  # bytes that hold the launcher's code and the index
MARK = b"\0the modules of a cold start of estiva\0"
SOURCE = __file__.rpartition("/estiva/boot/")[0]
BOOT = f"{SOURCE}/estiva/boot"
FOLDER = f"{BOOT}/__pycache__"
MAGIC: bytes = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER  # of this interpreter's bytecode
SPEC = type(sys.__spec__)


def path(program: str) -> str:
    """Where the file of `program` is."""
    return f"{FOLDER}/{LAUNCHERS[program]}.{sys.implementation.cache_tag}.pyc"


def private(found: posix.stat_result, owner: int) -> bool:
    """Whether only root, this user or `owner` can write to it."""
    return not found.st_mode & 0o022 and found.st_uid in (0, posix.geteuid(), owner)


class Finder:
    """A finder and loader of sys.meta_path for what the file holds (importlib, PEP 451).

    The file is opened anew for each module: a monitor and an init close fds that they don't know.
    """

    def __init__(self, file: str, found: posix.stat_result, modules: dict[str, Entry], start: int) -> None:
        self.file = file
        self.id = (found.st_dev, found.st_ino)
        self.modules = modules
        self.start = start  # of the first module's code

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        entry = self.modules.get(name)
        if entry is None:
            return None
        package, file, _, _, offset, length = entry
        file = f"{SOURCE}/{file}"
        try:
            code = self.read(offset, length)
        except (OSError, EOFError, ValueError, TypeError):
            return None
        spec = SPEC(name, self, origin=file, loader_state=code, is_package=package)  # type: ignore[arg-type]
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [file.rpartition("/")[0]]
        return spec

    def read(self, offset: int, length: int) -> object:
        """A module's code. Raises OSError, EOFError, ValueError, TypeError."""
        fd = posix.open(self.file, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            found = posix.fstat(fd)
            if (found.st_dev, found.st_ino) != self.id:
                raise EOFError  # written anew meanwhile
            return marshal.loads(posix.pread(fd, length, self.start + offset))
        finally:
            posix.close(fd)

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual module."""

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        code, spec.loader_state = spec.loader_state, None
        exec(code, module.__dict__)


def install(program: str) -> bool:
    """Have the modules of `program` come from its file; False if this process could write a better one."""
    finder, whole = load(program)
    if not whole and not sys.flags.dont_write_bytecode and posix.access(FOLDER, posix.W_OK):
        return False
    if finder is not None:
        sys.meta_path.insert(0, finder)
    return True


def load(program: str) -> tuple[Finder | None, bool]:
    """The finder of what can be used of the file, if any; and whether no other file would do better."""
    file = path(program)
    try:
        owner = posix.stat(BOOT).st_uid
        if not private(posix.stat(FOLDER), owner):
            return None, True
        fd = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            found = posix.fstat(fd)
            data = posix.read(fd, HEAD)
        finally:
            posix.close(fd)
        mark = data.find(MARK) if data.startswith(MAGIC) and private(found, owner) else -1
        if mark < 0:
            return None, False
        index = mark + len(MARK) + 8
        start = index + int.from_bytes(data[index - 8 : index], "little")
        written = marshal.loads(data[index:start])
        modules = {name: entry for name, entry in written.items() if unchanged(entry)}
    except (OSError, EOFError, ValueError, TypeError, AttributeError, IndexError):
        return None, False
    return Finder(file, found, modules, start), len(modules) == len(written)


def unchanged(entry: Entry) -> bool:
    """Whether a module's source is still what its code was made from."""
    try:
        found = posix.stat(f"{SOURCE}/{entry[1]}")
    except OSError:
        return False
    return found.st_mtime_ns == entry[2] and found.st_size == entry[3]
