"""Where COPY and ADD read from: a build context, an earlier stage or an image, as a tree behind one
directory fd.

A context may come from anyone, so no path in it is ever followed by name from outside: every component is
opened by fd from its parent with O_NOFOLLOW, symlinks are resolved here against the tree's own root, and
what `.dockerignore` leaves out does not exist (K14). Paths given and returned are relative to the root, ""
for the root itself.
"""

from __future__ import annotations

import errno
import os
import stat

from estiva.builder.files import record
from estiva.builder.files.record import Record
from estiva.builder.frontend import ignore, patterns
from estiva.errors import InvalidInput, NotFound, reason
from estiva.linux import fs

_MAX_LINKS = 40  # as path_resolution(7)
_MAX_DEPTH = 250
_MAX_MATCHES = 100_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Missing(InvalidInput):
    """A source path that is not in the tree."""


class Tree:
    """A source of files. `owners`: files keep their owner (stages and images); a context's are all root's.

    Owns `rootfd`, and closes it. `excluded` are paths left out by patterns.
    """

    def __init__(self, rootfd: int, *, exclude: ignore.Matcher | None = None, owners: bool = False) -> None:
        self.rootfd = rootfd
        self.exclude = exclude or ignore.Matcher([])
        self.owners = owners
        self.digests: dict[tuple[int, int, int, int, int], str] = {}

    @classmethod
    def context(cls, path: str, exclude: ignore.Matcher | None = None) -> Tree:
        """The tree of a build context, a directory that the caller names. Raises NotFound, InvalidInput."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"the build context {path} is not a directory") from None
        except OSError as error:
            raise InvalidInput(f"the build context {path} can't be read: {reason(error)}") from None
        return cls(fd, exclude=exclude)

    def close(self) -> None:
        if self.rootfd >= 0:
            os.close(self.rootfd)
            self.rootfd = -1

    def hides(self, path: str) -> bool:
        """Whether the patterns leave out `path`. A directory that is left out may still have visible
        children.
        """
        return bool(path) and self.exclude.excluded(path)

    def open(self, path: str, flags: int = os.O_RDONLY | os.O_NONBLOCK) -> int:
        """An fd of a path without symlinks in it (as `resolve` and `walk` give). Raises OSError."""
        resolve = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS | fs.RESOLVE_NO_MAGICLINKS
        return fs.openat2(self.rootfd, path or ".", flags | os.O_NOFOLLOW, 0, resolve)

    def stat(self, path: str) -> os.stat_result:
        """lstat of a resolved path. Raises OSError."""
        if not path:
            return os.fstat(self.rootfd)
        parent, name = self.parent(path)
        try:
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def readlink(self, path: str) -> str:
        parent, name = self.parent(path)
        try:
            return os.readlink(name, dir_fd=parent)
        finally:
            os.close(parent)

    def parent(self, path: str) -> tuple[int, str]:
        """(fd of the directory that holds a resolved path, its name there)."""
        directory, _, name = path.rpartition("/")
        return self.open(directory, os.O_PATH | os.O_DIRECTORY), name

    def names(self, path: str) -> list[str]:
        """The sorted names in a directory, hidden ones included."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def resolve(self, path: str, *, last: bool = True, missing: bool = False) -> str:
        """`path` with every symlink resolved inside the tree (the last component only with `last`).

        Raises Missing when it does not exist or is left out by the patterns; with `missing`, what does not
        exist is taken as written.
        """
        pending = [part for part in path.split("/") if part not in ("", ".")][::-1]
        done: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del done[-1:]
                continue
            here = "/".join([*done, part])
            try:
                mode = self.stat(here).st_mode
            except OSError as error:
                if missing and error.errno == errno.ENOENT:
                    done.append(part)
                    continue
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL):
                    raise Missing(path) from None
                raise
            if stat.S_ISLNK(mode) and (pending or last):
                links += 1
                if links > _MAX_LINKS:
                    raise InvalidInput(f"too many symlinks in {path}")
                target = self.readlink(here)
                if target.startswith("/"):
                    done = []
                pending += target.split("/")[::-1]
                continue
            done.append(part)
        resolved = "/".join(done)
        if not missing and self.hides(resolved) and not self.has_visible(resolved):
            raise Missing(path)
        return resolved

    def has_visible(self, path: str) -> bool:
        """Whether a hidden directory holds something that the patterns take back with `!`."""
        pending = [path] if self.exclude.negations else []
        while pending:
            here = pending.pop()
            if stat.S_ISDIR(self.stat(here).st_mode):
                below = [f"{here}/{name}" if here else name for name in self.names(here)]
                if not all(map(self.hides, below)):
                    return True
                pending += below
        return False

    def glob(self, pattern: str) -> list[str]:
        """The paths that match a pattern of path elements, sorted; without a wildcard, the path itself,
        unchecked. Raises InvalidInput for too many of them: symlinks are followed, so they may have no end.
        """
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        if not ignore.has_wildcard(pattern):
            return ["/".join(ignore.unescape(part) for part in parts)]
        found = [""]
        for part in parts:
            prefix = [path + "/" if path else "" for path in found]
            if not ignore.has_wildcard(part):
                found = [path + ignore.unescape(part) for path in prefix]
                continue
            wanted = patterns.path(part)
            matched: list[str] = []
            for path in prefix:
                matched += [path + name for name in self._children(path) if wanted.match(name)]
                if len(matched) > _MAX_MATCHES:
                    raise InvalidInput(f"{pattern} matches more than {_MAX_MATCHES} paths")
            found = matched
            if not found:
                return []
        return sorted(path for path in found if self._visible(path))

    def _children(self, path: str) -> list[str]:
        try:
            return self.names(self.resolve(path))
        except (Missing, NotADirectoryError, FileNotFoundError):
            return []

    def _visible(self, path: str) -> bool:
        try:
            self.resolve(path, last=False)
        except Missing:
            return False
        return True

    def walk(self, path: str, *, without: ignore.Matcher | None = None) -> list[str]:
        """Every visible path below a resolved directory, parents first, sorted, without the directory itself.

        A directory that is left out is listed only if something below it is not. `without` leaves out more,
        by names relative to `path`.
        """
        result: list[str] = []

        def visit(directory: str, depth: int) -> None:
            if depth > _MAX_DEPTH:
                raise InvalidInput(f"the directory tree is too deep: {directory[:100]}")
            for name in self.names(directory):
                child = f"{directory}/{name}" if directory else name
                hidden = self.hides(child)
                if hidden and not self.exclude.negations:
                    continue
                if not stat.S_ISDIR(self.stat(child).st_mode):
                    if not hidden:
                        result.append(child)
                    continue
                mark = len(result)
                result.append(child)
                visit(child, depth + 1)
                if hidden and len(result) == mark + 1:
                    result.pop()

        visit(path, 0)
        if not without:
            return result
        strip = len(path) + 1 if path else 0
        keep = [name for name in result if not without.excluded(name[strip:])]
        needed = set(keep)
        for name in keep:  # the directories of what `!` took back
            parent = name.rpartition("/")[0]
            while len(parent) > strip and parent not in needed:
                needed.add(parent)
                parent = parent.rpartition("/")[0]
        return [name for name in result if name in needed]

    def digest(self, path: str, *, exclude: ignore.Matcher | None = None) -> str:
        """What a resolved path holds, as the cache's key covers it (files/record.py)."""
        total = Record(self.owners)
        self.look(path, total, exclude=exclude)
        return total.digest()

    def look(self, path: str, into: Record, *, exclude: ignore.Matcher | None = None) -> bool:
        """Add what a resolved path holds to a record. Whether it is a directory."""
        info = self._look(into, path, "")
        if not stat.S_ISDIR(info.st_mode):
            return False
        strip = len(path) + 1 if path else 0
        for entry in self.walk(path, without=exclude):
            self._look(into, entry, entry[strip:])
        return True

    def above(self, base: str, relative: str) -> list[str]:
        """The directories of `relative`, which is below `base`, from the outermost on."""
        found = []
        for part in [part for part in relative.split("/") if part][:-1]:
            base = f"{base}/{part}" if base else part
            found.append(base)
        return found

    def _look(self, into: Record, path: str, name: str) -> os.stat_result:
        info = self.stat(path)
        text = ""
        if stat.S_ISREG(info.st_mode):
            info, text = self._content(path, info)
        elif stat.S_ISLNK(info.st_mode):
            text = self.readlink(path)
        into.add(name, info, text)
        return info

    def _content(self, path: str, info: os.stat_result) -> tuple[os.stat_result, str]:
        """A file's content for a key, read once in a build as long as its times don't change."""
        known = self.digests.get(_version(info))
        if known is not None:
            return info, known
        fd = self.open(path)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise InvalidInput(f"{path} changed while it was read")
            text = record.content(fd, record.attributes(fd) if self.owners else {})
        finally:
            os.close(fd)
        self.digests[_version(info)] = text
        return info, text


def _version(info: os.stat_result) -> tuple[int, int, int, int, int]:
    """What changes with a file's content, but for a change within one tick of the clock."""
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns
