"""What a program needs to start: its ELF headers read, and its libraries found as ld.so(8) would, running
nothing.

ldd(1) may execute what it is asked about (K2), so none of that here: PT_INTERP, DT_NEEDED, DT_RPATH and
DT_RUNPATH come from elf(5) structures, and a library is looked for in the order of ld.so(8): RPATH of the
object and of those that loaded it (unless the object has a RUNPATH), RUNPATH, ld.so.cache, the default
folders. LD_LIBRARY_PATH is of the caller's environment, not of the program, and is left out.
"""

from __future__ import annotations

import os
import struct

from estiva.engine.images.from_host.ldcache import Entry
from estiva.errors import NotFound, oneline

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_RPATH, DT_RUNPATH = 1, 5, 10, 15, 29
_LIMIT = 16 << 20  # bytes of program headers, dynamic section or string table
# e_machine -> folder names of Debian's multiarch, and $PLATFORM
_MACHINES = {
    3: ("i386-linux-gnu", "i686"),
    40: ("arm-linux-gnueabihf", "v7l"),
    22: ("s390x-linux-gnu", "s390x"),
    21: ("powerpc64le-linux-gnu", "power8"),
    62: ("x86_64-linux-gnu", "x86_64"),
    183: ("aarch64-linux-gnu", "aarch64"),
    243: ("riscv64-linux-gnu", "riscv64"),
    258: ("loongarch64-linux-gnu", "loongarch64"),
}


class Elf:
    """The parts of an ELF file that the dynamic loader goes by. `abi` is (class, byte order, machine)."""

    __slots__ = ("abi", "interpreter", "needed", "rpath", "runpath")

    def __init__(self, abi: tuple[int, int, int]) -> None:
        self.abi = abi
        self.interpreter = ""
        self.needed: list[str] = []
        self.rpath: list[str] = []
        self.runpath: list[str] = []


def read(path: str) -> Elf | None:
    """The ELF headers of a file; None when it is none, or damaged. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return _read(fd)
    except (struct.error, ValueError, OverflowError):
        return None
    finally:
        os.close(fd)


def _read(fd: int) -> Elf | None:
    ident = os.pread(fd, 64, 0)
    if len(ident) < 52 or ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return None
    wide = ident[4] == 2
    order = "<" if ident[5] == 1 else ">"
    machine = struct.unpack_from(order + "H", ident, 18)[0]
    elf = Elf((ident[4], ident[5], machine))
    if wide:
        table = struct.unpack_from(order + "Q", ident, 32)[0]
        size, count = struct.unpack_from(order + "HH", ident, 54)
        program = struct.Struct(order + "IIQQQQQQ")  # type flags offset vaddr paddr filesz memsz align
    else:
        table = struct.unpack_from(order + "I", ident, 28)[0]
        size, count = struct.unpack_from(order + "HH", ident, 42)
        program = struct.Struct(order + "IIIIIIII")  # type offset vaddr paddr filesz memsz flags align
    if size < program.size:
        return elf
    loads = []
    dynamic = b""
    headers = _pread(fd, size * count, table)
    for position in range(count):
        fields = program.unpack_from(headers, position * size)
        offset, vaddr, length = (*fields[2:4], fields[5]) if wide else (*fields[1:3], fields[4])
        if fields[0] == PT_LOAD:
            loads.append((vaddr, length, offset))
        elif fields[0] == PT_DYNAMIC:
            dynamic = _pread(fd, length, offset)
        elif fields[0] == PT_INTERP:
            elf.interpreter = os.fsdecode(_pread(fd, length, offset).partition(b"\0")[0])
    _read_dynamic(fd, elf, dynamic, loads, struct.Struct(order + ("qQ" if wide else "iI")))
    return elf


def _read_dynamic(
    fd: int, elf: Elf, dynamic: bytes, loads: list[tuple[int, int, int]], entry: struct.Struct
) -> None:
    tags: dict[int, list[int]] = {}
    for offset in range(0, len(dynamic) - entry.size + 1, entry.size):
        tag, value = entry.unpack_from(dynamic, offset)
        if tag == 0:
            break
        tags.setdefault(tag, []).append(value)
    if DT_STRTAB not in tags:
        return
    address = tags[DT_STRTAB][0]
    for vaddr, length, offset in loads:
        if vaddr <= address < vaddr + length:
            strings = _pread(fd, tags.get(DT_STRSZ, [0])[0], offset + address - vaddr)
            break
    else:
        return

    def string(at: int) -> str:
        return os.fsdecode(strings[at : strings.index(b"\0", at)])

    elf.needed = [string(at) for at in tags.get(DT_NEEDED, ())]
    elf.rpath = [part for at in tags.get(DT_RPATH, ()) for part in string(at).split(":") if part]
    elf.runpath = [part for at in tags.get(DT_RUNPATH, ()) for part in string(at).split(":") if part]


def _pread(fd: int, length: int, offset: int) -> bytes:
    if length > _LIMIT:
        raise ValueError("too large")
    data = os.pread(fd, length, offset)
    if len(data) < length:
        raise ValueError("truncated")
    return data


class Loader:
    """Finds libraries as ld.so(8) on this machine does. `used` collects the cache's entries that were of
    use.
    """

    def __init__(self, cache: list[Entry]) -> None:
        self.cache: dict[str, list[Entry]] = {}
        for entry in cache:
            self.cache.setdefault(entry.name, []).append(entry)
        self.used: list[Entry] = []
        self._known: dict[str, Elf | None] = {}

    def elf(self, path: str) -> Elf | None:
        """`read`, remembered; None also for what can't be opened."""
        if path not in self._known:
            try:
                self._known[path] = read(path)
            except OSError:
                self._known[path] = None
        return self._known[path]

    def libraries(self, path: str, *, lenient: bool = False) -> list[str]:
        """The libraries that the program or library at `path` (a real path) loads, theirs too, as paths that
        may go through symlinks. Raises NotFound for one that is missing, unless `lenient`.
        """
        program = self.elf(path)
        if program is None:
            return []
        musl = _is_musl(program.interpreter)
        found: dict[str, str] = {}
        queue: list[tuple[str, Elf, list[str]]] = [(path, program, [])]
        for place, elf, inherited in queue:
            folders = [] if elf.runpath else _expand(elf.rpath, place, elf)
            chain = folders + inherited
            search = _expand(elf.runpath, place, elf) if elf.runpath else chain
            for name in elf.needed:
                if name in found or (musl and name.startswith("libc.")):
                    continue  # musl's loader is its C library
                library = self._find(name, search, program.abi, musl)
                if library is None:
                    if lenient:
                        continue
                    raise NotFound(
                        f"library {oneline(name)}, which {oneline(place)} needs, is not on this machine",
                        hint="install it, or leave the program out",
                    )
                found[name] = library
                loaded = self.elf(library)
                if loaded is not None:
                    queue.append((library, loaded, chain))
        return list(found.values())

    def by_name(self, name: str, abi: tuple[int, int, int]) -> str | None:
        """A library by its name alone, as dlopen(3) of a program with that ABI finds it."""
        return self._find(name, [], abi, False)

    def _find(self, name: str, search: list[str], abi: tuple[int, int, int], musl: bool) -> str | None:
        if "/" in name:
            return name if self._fits(name, abi) else None
        for folder in search:
            if self._fits(f"{folder}/{name}", abi):
                return f"{folder}/{name}"
        if not musl:
            for entry in self.cache.get(name, ()):
                if self._fits(entry.path, abi):
                    self.used.append(entry)
                    return entry.path
        for folder in _musl_folders(abi) if musl else _default_folders(abi):
            if self._fits(f"{folder}/{name}", abi):
                return f"{folder}/{name}"
        return None

    def _fits(self, path: str, abi: tuple[int, int, int]) -> bool:
        elf = self.elf(path)
        return elf is not None and elf.abi == abi


def _is_musl(interpreter: str) -> bool:
    return os.path.basename(interpreter).startswith("ld-musl-")


def _default_folders(abi: tuple[int, int, int]) -> list[str]:
    folders = []
    multiarch = _MACHINES.get(abi[2], ("", ""))[0]
    if multiarch:
        folders += [f"/lib/{multiarch}", f"/usr/lib/{multiarch}"]
    if abi[0] == 2:
        folders += ["/lib64", "/usr/lib64"]
    return [*folders, "/lib", "/usr/lib"]


def _musl_folders(abi: tuple[int, int, int]) -> list[str]:
    arch = _MACHINES.get(abi[2], ("", ""))[0].partition("-")[0]
    try:
        with open(f"/etc/ld-musl-{arch}.path") as file:
            return [part for part in file.read(65536).replace("\n", ":").split(":") if part]
    except OSError:
        return ["/lib", "/usr/local/lib", "/usr/lib"]


def _expand(folders: list[str], place: str, elf: Elf) -> list[str]:
    """RPATH or RUNPATH with $ORIGIN, $LIB and $PLATFORM replaced; relative folders are of no use."""
    multiarch, platform = _MACHINES.get(elf.abi[2], ("", ""))
    result = []
    for folder in folders:
        for lib in (f"lib/{multiarch}", "lib64" if elf.abi[0] == 2 else "lib", "lib"):
            text = folder
            for token, value in (("ORIGIN", os.path.dirname(place)), ("LIB", lib), ("PLATFORM", platform)):
                text = text.replace("${" + token + "}", value).replace("$" + token, value)
            if text.startswith("/") and text not in result:
                result.append(text)
    return result
