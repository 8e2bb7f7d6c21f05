"""Why a command could not be executed, in a hint: looked up by the parent of a child that failed.

The child, which is in the container and must import nothing, hands over the root that it saw and waits, so
that all mounts are there (sync.Channel.report). The tree is the container's: every path is resolved inside of
it, files are opened by `reopen_regular`, and what is read of files, folders and names is bounded (K1, K13,
K21). Only ever a hint: where nothing is known for sure, nothing is said.
"""

from __future__ import annotations

import errno
import os
import stat

from estiva.errors import CommandNotExecutable, CommandNotFound, EstivaError, oneline
from estiva.linux import fs
from estiva.runtime import sync
from estiva.runtime.process import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FUSE_SUPER_MAGIC = 0x65735546  # of a server that may never answer
_CAP_DAC_OVERRIDE = 1
_HEADER = 1024  # bytes of a program
_FOLDERS = 64  # of PATH
_ENTRIES = 8192  # of all folders together
_WORD = 64  # bytes of a name that others are compared with
_VERSION = "0123456789.-"
_DEPTH = 40  # steps of a path
_USUAL = (
    "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/games", "/opt/bin",
    "/usr/local/go/bin", "/app",
)  # fmt: skip
_SHELLS = ("/bin/sh", "/bin/bash", "/bin/ash", "/bin/dash", "/bin/zsh", "/usr/bin/sh", "/busybox/sh")
_SHELL_NAMES = ("sh", "bash", "ash", "dash", "zsh")
_NO_SHELL = "the image has no shell: start its program itself (in a Dockerfile, by the JSON form)"
_BUILTINS = frozenset(
    ("cd", "source", ".", "export", "alias", "ulimit", "umask", "set", "unset", "exec", "eval", "trap",
     "wait", "type")
)  # fmt: skip
_FORMATS = (
    (b"\xef\xbb\xbf#!", "it begins with a byte order mark, which hides its #! line: save it without one"),
    (b"MZ", "it is a program for Windows"),
    (b"\xcf\xfa\xed\xfe", "it is a program for macOS: build it for linux"),
    (b"\xce\xfa\xed\xfe", "it is a program for macOS: build it for linux"),
    (b"\xca\xfe\xba\xbe", "it is a Java class, or a program for macOS"),
    (b"PK\x03\x04", "it is a zip archive: a .jar is started by `java -jar`"),
    (b"\x1f\x8b", "it is compressed with gzip"),
    (b"\0asm", "it is a WebAssembly module, which needs a runtime such as wasmtime"),
)


def error(payload: bytes, root: int, pid: int) -> EstivaError:
    """The error of a child's ERROR message, with a hint where its `root`, which is closed, shows a reason.
    The child `pid` waits meanwhile; what it then still has to say does not matter. Never raises.
    """
    failed = sync.decode(payload)
    try:
        if isinstance(failed, CommandNotFound | CommandNotExecutable):
            fields = [os.fsdecode(field) for field in payload.split(b"\0")[7:10]]
            if len(fields) == 3:
                name, path, cwd = fields
                failed.hint = hint(root, name, path, cwd, _credentials(pid)) or failed.hint
    finally:
        os.close(root)
    return failed


def hint(root: int, name: str, path: str, cwd: str = "/", user: tuple[int, set[int]] = (0, set())) -> str:
    """Why the command `name` can't be executed where `root` (an O_PATH fd) is the root; "" if that is not
    known. `path` is its PATH, `user` its uid and gids."""
    tree = Tree(root, cwd, user)
    try:
        folders = list(dict.fromkeys(folder or "." for folder in path.split(":")))[:_FOLDERS]
        words = name.split()
        if len(words) > 1 and tree.stat(name) is None:
            places = [words[0]] if "/" in words[0] else [f"{folder}/{words[0]}" for folder in folders]
            if any(map(tree.runnable, places)):
                return f"{oneline(words[0])} is there, but this is one word with blanks: give each for itself"
        return _of_path(tree, name) if "/" in name else _of_name(tree, name, folders)
    except (OSError, ValueError, RecursionError):
        return ""


def _credentials(pid: int) -> tuple[int, set[int]]:
    """The effective uid and the gids of a process, by proc_pid_status(5); root's where it has gone, or where
    it looks with the capability that no mode holds up: it may have more than its command will."""
    uid, gids = 0, {0}
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file.read(1 << 16).splitlines():
                if line.startswith(b"Uid:"):
                    uid = int(line.split()[2])
                elif line.startswith(b"CapEff:") and int(line.split()[1], 16) >> _CAP_DAC_OVERRIDE & 1:
                    uid = 0
                elif line.startswith((b"Gid:", b"Groups:")):
                    gids |= set(map(int, line.split()[1:]))
    except (OSError, ValueError, IndexError):
        pass
    return uid, gids


class Tree:
    """A container's files as its command sees them."""

    def __init__(self, root: int, cwd: str, user: tuple[int, set[int]]) -> None:
        self.root = root
        self.cwd = cwd if cwd.startswith("/") else "/"
        self.uid, self.gids = user
        self.left = _ENTRIES
        self.blind = False  # there is a folder that was not read

    def absolute(self, path: str) -> str:
        return path if path.startswith("/") else f"{self.cwd.rstrip('/')}/{path}"

    def stat(self, path: str) -> os.stat_result | None:
        """That of what a path leads to; None where there is nothing."""
        try:
            fd = fs.open_in_root(self.root, self.absolute(path), os.O_PATH)
        except OSError:
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def link(self, path: str) -> str:
        """Where the symlink `path` itself points to; "" where it is none."""
        try:
            fd = fs.open_in_root(self.root, self.absolute(path), os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return ""
        try:
            return os.readlink("", dir_fd=fd)
        except OSError:
            return ""
        finally:
            os.close(fd)

    def magic(self, path: str) -> bool:
        """Whether something on the way is the kernel's, such as the magic links of /proc."""
        folder = path.rpartition("/")[0] or "/"
        try:
            fd = fs.open_in_root(self.root, self.absolute(folder), os.O_PATH)
        except OSError:
            return True
        try:
            return fs.is_kernel(fd)
        finally:
            os.close(fd)

    def runnable(self, path: str) -> bool:
        """Whether there is a program that the command's user may execute."""
        found = self.stat(path)
        return found is not None and stat.S_ISREG(found.st_mode) and self.allowed(found)

    def allowed(self, found: os.stat_result) -> bool:
        """Whether the user may execute such a file, or go through such a folder, by its mode (inode(7))."""
        if self.uid == 0:
            return bool(found.st_mode & 0o111)
        if found.st_uid == self.uid:
            return bool(found.st_mode & 0o100)
        return bool(found.st_mode & (0o010 if found.st_gid in self.gids else 0o001))

    def names(self, folder: str) -> Iterator[str]:
        """What a folder holds, as long as `left` lasts; nothing of the kernel's or of FUSE."""
        try:
            place = fs.open_in_root(self.root, self.absolute(folder), os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return
        try:
            if fs.fstatfs(place) in fs.KERNEL_FILESYSTEMS | {FUSE_SUPER_MAGIC}:
                self.blind = True
                return
            reader = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return
        finally:
            os.close(place)
        try:
            with os.scandir(reader) as entries:
                for entry in entries:
                    self.left -= 1
                    if self.left < 0:
                        return
                    yield entry.name
        except OSError:
            return
        finally:
            os.close(reader)

    def near(self, word: str, folders: list[str]) -> list[str]:
        """At most three names in these folders that may have been meant: of another version, in other case,
        or mistyped."""
        if not word or len(word) > _WORD:
            return []
        found, alike, letters = set(), set(), sorted(word.lower())
        for folder in folders:
            for name in self.names(folder):
                rest = name.removeprefix(word) if len(name) > len(word) else word.removeprefix(name)
                same = len(rest) < max(len(name), len(word)) and not rest.strip(_VERSION)
                if same or sorted(name.lower()) == letters:  # also two that have changed places
                    found.add(name)
                elif abs(len(name) - len(word)) <= 2 and (name[0] == word[0] or name[-1] == word[-1]):
                    alike.add(name)
        if not found and len(word) > 2:
            from difflib import get_close_matches

            found = set(get_close_matches(word, sorted(alike), 2, 0.75))
        found.discard(word)
        return sorted(found, key=lambda name: (len(name), name))[:3]


def _of_name(tree: Tree, name: str, folders: list[str]) -> str:
    if not name:
        return "the command is empty"
    for folder in folders:
        there = f"{folder}/{name}"
        link = tree.link(there)
        found = tree.stat(there)
        if found is None and link:
            return f"{oneline(there)} is a symlink to {oneline(link)}, which is not there"
        if found is not None and stat.S_ISREG(found.st_mode):
            return _of_path(tree, there)
    if name in _BUILTINS:
        return f"{name} is a word of the shell's, not a program: sh -c '{name} ...'"
    for folder in (tree.cwd.rstrip("/"), *_USUAL):
        if folder not in folders and tree.runnable(f"{folder}/{name}"):
            return f"there is {oneline(folder)}/{oneline(name)}, but PATH is {oneline(':'.join(folders))}"
    if name in _SHELL_NAMES:
        has = _instead(tree, name)
        return f"the image has no {name}; it has {has}" if has else _NO_SHELL
    near = tree.near(name, folders)
    if near:
        return f"did you mean {_either(near)}?"
    if tree.left == _ENTRIES and len(name) <= _WORD and not tree.blind:
        return "there is no program at all in PATH: give the path of the image's own, with a slash"
    return ""


def _of_path(tree: Tree, path: str, depth: int = 0) -> str:
    """Of a command with a slash in it."""
    parts = [part for part in tree.absolute(path).split("/") if part not in ("", ".")]
    if len(parts) > _DEPTH:
        return ""
    at = ""
    for part in parts[:-1]:
        found = tree.stat(at := f"{at}/{part}")
        if found is None:
            return _missing(tree, path, at)
        if not stat.S_ISDIR(found.st_mode):
            return f"{oneline(at)} is a file, not a folder"
        if tree.uid and not tree.allowed(found):
            return f"its user may not go through {oneline(at)} (mode {stat.S_IMODE(found.st_mode):04o})"
    full = "/" + "/".join(parts)
    try:
        fd = fs.open_in_root(tree.root, full, os.O_PATH)
    except OSError as failed:
        if failed.errno == errno.ELOOP:
            return "" if tree.magic(full) else f"{oneline(full)} is a symlink that leads back to itself"
        return _missing(tree, path, full)
    try:
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            return "it is a folder: give a program in it"
        if not stat.S_ISREG(found.st_mode):
            return ""
        if not found.st_mode & 0o111:
            return f"chmod +x it in the image (in a Dockerfile: COPY --chmod=755 ... {oneline(full)})"
        if os.fstatvfs(fd).f_flag & os.ST_NOEXEC:
            return f"{oneline(full)} is on a filesystem that is mounted noexec: mount it with exec"
        if not tree.allowed(found):
            return f"its user may not execute it: its mode is {stat.S_IMODE(found.st_mode):04o}"
        if fs.fstatfs(fd) == FUSE_SUPER_MAGIC:
            return ""
        reader = fs.reopen_regular(fd, full)
    finally:
        os.close(fd)
    try:
        return _of_content(tree, full, reader, depth)
    finally:
        os.close(reader)


def _missing(tree: Tree, path: str, at: str) -> str:
    """`at`, on the way to `path` or all of it, is not there."""
    link = tree.link(at)
    if link:
        return f"{oneline(at)} is a symlink to {oneline(link)}, which is not there"
    folder, _, name = at.rpartition("/")
    base = path.rstrip("/").rpartition("/")[2]
    has = _instead(tree, base)
    if has:
        return f"the image has {has}"
    if base in _SHELL_NAMES:
        return _NO_SHELL
    near = [f"{folder}/{other}" for other in tree.near(name, [folder or "/"])]
    if near:
        rest = tree.absolute(path).removeprefix(at) if tree.absolute(path).startswith(at) else ""
        return f"did you mean {_either([other + rest for other in near])}?"
    return f"there is no folder {oneline(at)}" if at != tree.absolute(path) else ""


def _of_content(tree: Tree, path: str, fd: int, depth: int) -> str:
    """By the first bytes of a file that may be executed."""
    header = os.pread(fd, _HEADER, 0)
    name = oneline(path)
    if header.startswith(b"#!"):
        return _of_script(tree, name, header, depth)
    if header.startswith(b"\x7fELF"):
        if command.of_another_machine(header):
            return ""  # the message has it
        loader = command.loader(fd, header)
        return _of_loader(tree, loader) if loader and tree.stat(loader) is None else ""
    for start, words in _FORMATS:
        if header.startswith(start):
            return words
    if not header:
        return "the file is empty"
    if b"\0" not in header:
        program = "/usr/bin/env python3" if path.endswith(".py") else "/bin/sh"
        return f"it is a text: put #!{program} on its first line"
    return ""


def _of_script(tree: Tree, name: str, header: bytes, depth: int) -> str:
    line = command.shebang(header)
    if any(word.endswith("\r") for word in line):
        return f"the lines of {name} end as on Windows (CRLF): dos2unix, or sed -i 's/\\r$//', converts it"
    if not line:
        return f"the first line of {name} names no interpreter"
    interpreter = oneline(line[0])
    if not line[0].startswith("/"):
        return f"{name} begins with #!{interpreter}: that has to be a whole path, such as #!/bin/sh"
    found = tree.stat(line[0])
    if found is None:
        has = _instead(tree, line[0].rpartition("/")[2])
        words = f"{name} begins with #!{interpreter}, and the image has no {interpreter}"
        return f"{words}; it has {has}" if has else words
    below = _of_path(tree, line[0], depth + 1) if depth < 4 else ""
    return f"its interpreter {interpreter}: {below}" if below else ""


def _of_loader(tree: Tree, loader: str) -> str:
    """A dynamically linked program whose loader is missing."""
    musl = any(name.startswith("ld-musl") for name in tree.names("/lib"))
    glibc = any(name.startswith("ld-linux") for f in ("/lib64", "/lib") for name in tree.names(f))
    wanted = "musl" if "musl" in loader else "glibc" if "/ld-linux" in loader or "/ld64" in loader else ""
    has = "it has musl" if musl and wanted != "musl" else "it has glibc" if glibc and wanted == "musl" else ""
    what = f"{wanted}, which this image lacks" if wanted else "a C library"
    if wanted and has:
        what = f"{what} ({has})"
    return (
        f"the program was linked against {what}: build it statically (of Go: CGO_ENABLED=0), or take an "
        f"image with {wanted or 'its loader'}"
    )


def _instead(tree: Tree, name: str) -> str:
    """Where a program of that name is; of a shell, else, which other one there is; "" for neither."""
    shells = _SHELLS if name in _SHELL_NAMES else ()
    places = (*(f"{folder}/{name}" for folder in _USUAL), *shells)
    return next((oneline(place) for place in places if name and tree.runnable(place)), "")


def _either(names: list[str]) -> str:
    shown = [oneline(name) for name in names]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
