"""The modules of a cold start from one file: no search for each, and a third of the system calls.

It is to many modules what a .pyc is to one, and it is one: the launcher's own, in __pycache__, where
installers look for what they have to remove. Behind the launcher's code, which nobody reads there, come a
mark, the length of an index in 8 bytes, the index, as marshal has it, and the code of each module. A module
is used only if its source has the size and the time that it was compiled from; for what is missing or older
the usual import takes over. The first start after an installation or a change writes the file anew where it
may (writer.py).

What is in the file is executed: nobody may be able to write to it or its folder but its owner, who is root,
this user or the owner of the sources. Measured: 3 to 4 ms of a start of 30, and 1 to 2
more for loading without importlib; 15 ms once for writing it.
"""

from __future__ import annotations

import _thread
import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _frozen_importlib import ModuleSpec
    from types import ModuleType

    # package?, path below the source folder, mtime in ns, size, offset and length of the code, its imports
    Entry = tuple[bool, str, int, int, int, int, tuple[str, ...]]

LAUNCHERS = {
    "estiva": "launcher",
    "estiva build": "launcher_build",
    "estiva-oci": "launcher_oci",
}  # program -> its launcher beside this module
HEAD = 48 << 10  # bytes that hold the launcher's code and the index
MARK = b"\0the modules of a cold start of estiva\0"
SOURCE = __file__.rpartition("/estiva/boot/")[0]
BOOT = f"{SOURCE}/estiva/boot"
FOLDER = f"{BOOT}/__pycache__"
MAGIC: bytes = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER  # of this interpreter's bytecode
SPEC = type(sys.__spec__)
MODULE = type(sys)
TOLD = sys.flags.verbose or "importtime" in sys._xoptions  # by importlib, module for module


def path(program: str) -> str:
    """Where the file of `program` is."""
    return f"{FOLDER}/{LAUNCHERS[program]}.{sys.implementation.cache_tag}.pyc"


def private(found: posix.stat_result, owner: int) -> bool:
    """Whether only root, this user or `owner` can write to it."""
    return not found.st_mode & 0o022 and found.st_uid in (0, posix.geteuid(), owner)


class Finder:
    """A finder and loader of sys.meta_path for what the file holds (importlib, PEP 451).

    What a module imports as it is loaded is loaded before it, without importlib, whose locks, searches and
    attributes are a third of the cost of a module. That is for a process with one thread only, which a start
    is: no other may see a module that is not ready.

    The file is opened anew each time: a monitor and an init close fds that they don't know.
    """

    def __init__(self, file: str, found: posix.stat_result, modules: dict[str, Entry], start: int) -> None:
        self.file = file
        self.id = (found.st_dev, found.st_ino)
        self.modules = modules
        self.start = start  # of the first module's code
        self.begun: set[str] = set()

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        entry = self.modules.get(name)
        if entry is None:
            return None
        try:
            fd = self.open()
        except (OSError, EOFError):
            return None
        try:
            self.begun.add(name)
            if _thread._count() == 0 and not entry[0] and not TOLD:  # a package may be what they are in
                self.load_all(entry[6], fd)
            spec = self.spec(name, fd)
            if spec is not None and name in sys.modules:
                spec.loader_state = None  # one of them has imported it, in a circle: that is it
            return spec
        finally:
            posix.close(fd)

    def open(self) -> int:
        """The file. Raises OSError, EOFError."""
        fd = posix.open(self.file, posix.O_RDONLY | posix.O_CLOEXEC)
        found = posix.fstat(fd)
        if (found.st_dev, found.st_ino) != self.id:
            posix.close(fd)
            raise EOFError  # written anew meanwhile
        return fd

    def spec(self, name: str, fd: int) -> ModuleSpec | None:
        """A module's, with its code; None when that can't be read."""
        package, file, _, _, offset, length, _ = self.modules[name]
        try:
            code = marshal.loads(posix.pread(fd, length, self.start + offset))
        except (OSError, EOFError, ValueError, TypeError):
            return None
        file = f"{SOURCE}/{file}"
        # without `has_location`: importlib would think up where the .pyc is
        spec = SPEC(name, self, origin=file, loader_state=code, is_package=package)  # type: ignore[arg-type]
        if package:
            spec.submodule_search_locations = [file.rpartition("/")[0]]
        return spec

    def load_all(self, names: tuple[str, ...], fd: int) -> None:
        for name in names:
            if name not in sys.modules:
                self.load(name, fd)

    def load(self, name: str, fd: int) -> None:
        """As `import` would, with what it needs before it; what can't be is left to the import itself."""
        entry = self.modules.get(name)
        if entry is None or name in self.begun:
            return
        self.begun.add(name)
        above, _, own = name.rpartition(".")
        if above not in sys.modules:
            self.load(above, fd)
        if not entry[0]:
            self.load_all(entry[6], fd)
        if name in sys.modules or above not in sys.modules:
            return
        spec = self.spec(name, fd)
        if spec is None:
            return
        module = MODULE(name)
        module.__spec__ = spec
        module.__loader__ = self  # type: ignore[assignment]
        module.__package__ = name if entry[0] else above
        if entry[0]:
            module.__path__ = spec.submodule_search_locations  # type: ignore[assignment]
        sys.modules[name] = module
        try:
            if entry[0]:
                self.load_all(entry[6], fd)
            self.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        setattr(sys.modules[above], own, module)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The usual module, unless there is one."""
        return None if spec.loader_state else sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        module.__file__ = spec.origin
        code, spec.loader_state = spec.loader_state, None
        if code:
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
