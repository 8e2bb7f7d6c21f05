"""An image out of this machine's own programs: `estiva image from-host --tag base:host sh ls cat`.

Each program comes with its loader and libraries (engine/elf), a script with its interpreter, everything with
the symlinks that lead to it, so that /bin -> usr/bin and /bin/sh -> dash stay what they are. Nothing of the
machine is executed, and its users, names and settings stay out: /etc is generated. The one layer and the
config depend on the files' contents, modes and times alone, so the same machine gives the same image again.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from estiva.engine.images.from_host import elf, ldcache
from estiva.errors import IntegrityError, InvalidInput, NotFound, Unsupported, oneline
from estiva.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from estiva.oci.platform import Platform
    from estiva.store import Store
    from estiva.store.images import Image
    from estiva.store.layers.sink import TarSink

PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
CACHE = "/etc/ld.so.cache"
# What glibc opens by name when a program looks up users or hosts, or ends a thread.
OPENED_BY_NAME = ("libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1")
FOLDERS = {
    "/dev": 0o755,
    "/etc": 0o755,
    "/home": 0o755,
    "/proc": 0o555,
    "/root": 0o700,
    "/run": 0o755,
    "/sys": 0o555,
    "/tmp": 0o1777,
    "/usr": 0o755,
    "/var": 0o755,
    "/var/tmp": 0o1777,
}
GENERATED = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "/etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
}
_SYMLINKS, _SHEBANGS = 40, 4  # what the kernel follows
_CHUNK = 1 << 20


def make(
    store: Store,
    programs: Sequence[str],
    *,
    tag: str | None = None,
    extra_files: Iterable[str] = (),
    data: Mapping[str, bytes] | None = None,
    config: Mapping[str, object] | None = None,
    created_by: str = "",
    platform: str | Platform | None = None,
) -> Image:
    """Make an image of `programs` (names on the PATH, or paths) and `extra_files` (absolute paths; a folder
    comes with all in it), tag it, and return it. `data`: by path, the content of files that are in the image
    alone. `config`: what is added to its config. `created_by`: what its history says.

    Raises NotFound for a program, library, interpreter or file that this machine has not, InvalidInput,
    Unsupported for a platform that is not this machine's.
    """
    from estiva.oci import config as configs
    from estiva.oci.image import encode
    from estiva.oci.platform import Platform
    from estiva.oci.reference import Reference

    host = Platform.host()
    if platform is not None:
        wanted = Platform.parse(platform) if isinstance(platform, str) else platform
        if (wanted.os, wanted.architecture) != (host.os, host.architecture):
            raise Unsupported(
                f"this machine's programs are for {host.os}/{host.architecture}, "
                f"not {wanted.os}/{wanted.architecture}"
            )
    if tag:
        Reference.parse(tag)
    extra = list(extra_files)
    if not programs and not extra:
        raise InvalidInput("an image needs at least one program", hint="for instance: sh ls cat")
    tree = Tree()
    for program in programs:
        tree.add_program(program)
    for path in extra:
        tree.add_extra(path)
    for path, content in (data or {}).items():
        tree.entries[path] = Entry("f", 0o644, data=content)
    tree.finish()
    document = configs.new(host.architecture, host.os, host.variant)
    document["config"] = {"Env": ["PATH=" + ":".join((*PATH, *tree.places))]}
    if tree.has("/bin/sh"):
        document["config"]["Cmd"] = ["sh"]
    document["config"].update(config or {})
    words = [oneline(word) for word in (*programs, *extra)]
    with store.writing():
        with store.layers.sink() as sink:
            tree.write(sink)
            layer = store.layers.commit(sink)
        document = configs.derive(
            document,
            layer.diff_id,
            created_by=created_by or "estiva image from-host " + " ".join(words),
            created=_created(),
        )
        return store.images.add(encode(document), names=[tag] if tag else ())


def _created() -> float:
    """Now, or SOURCE_DATE_EPOCH, with which the same programs give the same image. Raises InvalidInput."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        import time

        return float(int(time.time()))
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise InvalidInput(f"SOURCE_DATE_EPOCH must be a number of seconds, not {oneline(text)[:40]!r}")
    return float(text)


class Entry:
    """One thing in the image: kind "d", "l" or "f"; a file's bytes are in `data` or, read when written, at
    `source`.
    """

    __slots__ = ("kind", "mode", "mtime", "target", "data", "source")

    def __init__(
        self, kind: str, mode: int, *, mtime: int = 0, target: str = "", data: bytes = b"", source: str = ""
    ) -> None:
        self.kind = kind
        self.mode = mode
        self.mtime = mtime
        self.target = target
        self.data = data
        self.source = source


class Tree:
    """The image's files by absolute path. `places`: folders of programs that are not on the usual PATH;"""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.places: list[str] = []
        try:
            cache = ldcache.parse(read_bounded(CACHE, 64 << 20))
        except OSError:
            cache = []
        self.loader = elf.Loader(cache)
        self._done: set[str] = set()
        self._glibc: set[tuple[int, int, int]] = set()

    # ---- adding

    def add_program(self, name: str, *, needed_by: str = "", depth: int = 0) -> None:
        """A program by name or path, with all that it needs to start."""
        path = self._locate(name, needed_by)
        real = self.bring(path)
        if os.path.isdir(real):
            raise InvalidInput(f"{oneline(name)} is a folder, not a program")
        self._needs(real, depth, lenient=False)

    def add_extra(self, path: str) -> None:
        """A file or a folder with all in it, at the same place in the image."""
        if not path.startswith("/"):
            raise InvalidInput(f"{oneline(path)} is not an absolute path")
        if not os.path.lexists(path):
            raise NotFound(f"no file {oneline(path)} on this machine")
        if not os.path.exists(path):
            self._extra(path)
            return
        real = self.bring(path)
        if os.path.isdir(real):
            for folder, folders, names in os.walk(real):
                for found in (*folders, *names):
                    inner = os.path.join(folder, found)
                    if stat.S_IFMT(os.lstat(inner).st_mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                        self._extra(inner)
        else:
            self._needs(real, 0, lenient=True)

    def _extra(self, path: str) -> None:
        try:
            self._needs(self.bring(path), 0, lenient=True)
        except FileNotFoundError:
            pass  # a dangling symlink: it is kept as it is

    def bring(self, path: str) -> str:
        """Add what is at an absolute path, and every symlink and folder on the way; the real path. Raises
        OSError.
        """
        parts = path.split("/")[::-1]
        here = ""
        links = 0
        while parts:
            part = parts.pop()
            if part in ("", "."):
                continue
            if part == "..":
                here = here.rpartition("/")[0]
                continue
            there = f"{here}/{part}"
            status = os.lstat(there)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > _SYMLINKS:
                    raise InvalidInput(f"{oneline(path)} has too many levels of symlinks")
                target = os.readlink(there)
                self.entries.setdefault(there, Entry("l", 0o777, target=target))
                parts += target.split("/")[::-1]
                if target.startswith("/"):
                    here = ""
                continue
            if stat.S_ISDIR(status.st_mode):
                self.entries.setdefault(there, Entry("d", FOLDERS.get(there, 0o755)))
            elif stat.S_ISREG(status.st_mode):
                self._add_file(there, status)
            else:
                raise InvalidInput(f"{oneline(there)} is neither a file nor a folder")
            here = there
        return here or "/"

    def _add_file(self, path: str, status: os.stat_result) -> None:
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid or status.st_gid:
            mode &= 0o1777  # all is root's in the image, where set-id bits would mean more than here
        mtime = max(0, int(status.st_mtime))
        self.entries.setdefault(path, Entry("f", mode, mtime=mtime, source=path))

    def _locate(self, name: str, needed_by: str) -> str:
        """The path of a program. What the image's own PATH finds comes before what only the caller's does."""
        if "/" in name:
            path = os.path.abspath(name)
            if os.path.exists(path):
                return path
        elif name:
            mine = [folder for folder in os.environ.get("PATH", "").split(":") if folder.startswith("/")]
            for folder in (*PATH, *mine):
                path = os.path.join(folder, name)
                if os.path.isfile(path) and os.access(path, os.X_OK):
                    if folder not in PATH and folder not in self.places:
                        self.places.append(folder)
                    return path
        why = f", which {oneline(needed_by)} needs," if needed_by else ""
        where = "" if "/" in name else " on the PATH"
        raise NotFound(
            f"program {oneline(name)}{why} is not{where or ' there'}",
            hint="install it, name it by its full path, or leave it out",
        )

    def _needs(self, path: str, depth: int, *, lenient: bool) -> None:
        """Add what the file at a real path needs to run: loader and libraries, or a script's interpreter."""
        if path in self._done or os.path.isdir(path):
            return
        self._done.add(path)
        headers = self.loader.elf(path)
        if headers is None:
            if os.access(path, os.X_OK) or not lenient:
                self._script(path, depth, lenient)
            return
        if headers.interpreter:
            if not os.path.exists(headers.interpreter):
                raise NotFound(
                    f"loader {oneline(headers.interpreter)}, which {oneline(path)} needs, is not there",
                    hint="install the C library that it was built for, or leave the program out",
                )
            self.bring(headers.interpreter)
            if "ld-musl" not in headers.interpreter:
                self._glibc.add(headers.abi)
        for library in self.loader.libraries(path, lenient=lenient):
            self.bring(library)

    def _script(self, path: str, depth: int, lenient: bool) -> None:
        """The interpreter of a #! line (execve(2)); for env(1) also the program that it looks up."""
        with open(path, "rb") as file:
            first = file.readline(256)
        if not first.startswith(b"#!"):
            return
        words = os.fsdecode(first[2:]).split()
        if not words or depth >= _SHEBANGS:
            raise InvalidInput(f"script {oneline(path)} has no usable interpreter in its first line")
        found = [words[0]]
        if os.path.basename(words[0]) == "env":
            found += [word for word in words[1:] if not word.startswith("-") and "=" not in word][:1]
        for name in found:
            try:
                self.add_program(name, needed_by=path, depth=depth + 1)
            except NotFound:
                if not lenient:
                    raise

    # ---- finishing

    def finish(self) -> None:
        """Add what every image has: folders, users, and for glibc programs what it opens by name and its
        cache.
        """
        for abi in sorted(self._glibc):
            for name in OPENED_BY_NAME:
                library = self.loader.by_name(name, abi)
                if library:
                    self.bring(library)
                    for needed in self.loader.libraries(os.path.realpath(library), lenient=True):
                        self.bring(needed)
        for folder in ("/bin", "/sbin", "/lib", "/lib64"):
            if os.path.islink(folder):
                self.entries.setdefault(folder, Entry("l", 0o777, target=os.readlink(folder)))
        for path, text in GENERATED.items():
            self.entries.setdefault(path, Entry("f", 0o644, data=text.encode()))
        for path, mode in FOLDERS.items():
            self.entries.setdefault(path, Entry("d", mode))
        self.entries.setdefault("/var/run", Entry("l", 0o777, target="/run"))
        if self.loader.used:
            self.entries.setdefault(CACHE, Entry("f", 0o644, data=ldcache.build(self.loader.used)))
        for path in list(self.entries):
            parent = path.rpartition("/")[0]
            while parent and parent not in self.entries:
                self.entries[parent] = Entry("d", 0o755)
                parent = parent.rpartition("/")[0]

    def has(self, path: str) -> bool:
        """Whether a path leads to something in the image, through its own symlinks."""
        parts = path.split("/")[::-1]
        here = ""
        for _ in range(1000):
            if not parts:
                return True
            part = parts.pop()
            if part in ("", "."):
                continue
            if part == "..":
                here = here.rpartition("/")[0]
                continue
            entry = self.entries.get(f"{here}/{part}")
            if entry is None:
                return False
            if entry.kind != "l":
                here = f"{here}/{part}"
                continue
            parts += entry.target.split("/")[::-1]
            if entry.target.startswith("/"):
                here = ""
        return False

    def write(self, sink: TarSink) -> None:
        """Write everything as one tar, parents first, the same bytes for the same entries."""
        from estiva.store.tar import writer

        for path in sorted(self.entries, key=lambda path: path.split("/")):
            entry = self.entries[path]
            name = os.fsencode(path[1:])
            if entry.kind == "d":
                sink.write(writer.header(writer.Member(name + b"/", b"5", mode=entry.mode)))
            elif entry.kind == "l":
                member = writer.Member(name, b"2", mode=entry.mode, link=os.fsencode(entry.target))
                sink.write(writer.header(member))
            elif entry.source:
                _copy(sink, name, entry)
            else:
                member = writer.Member(name, b"0", mode=entry.mode, size=len(entry.data))
                sink.write(writer.header(member) + entry.data + writer.padding(len(entry.data)))
        sink.write(writer.END)


def _copy(sink: TarSink, name: bytes, entry: Entry) -> None:
    from estiva.store.tar import writer

    fd = os.open(entry.source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        size = os.fstat(fd).st_size
        try:
            xattrs = {b"security.capability": os.getxattr(fd, "security.capability")}
        except OSError:
            xattrs = {}
        member = writer.Member(name, b"0", mode=entry.mode, size=size, mtime=entry.mtime, xattrs=xattrs)
        sink.write(writer.header(member))
        left = size
        while left:
            piece = os.read(fd, min(left, _CHUNK))
            if not piece:
                raise IntegrityError(f"{oneline(entry.source)} shrank while it was read", hint="try again")
            sink.write(piece)
            left -= len(piece)
        sink.write(writer.padding(size))
    finally:
        os.close(fd)
