"""Where COPY and ADD read from: a build context, an earlier stage or an image, as a tree behind one
directory fd.

A context may come from anyone, so no path in it is ever followed by name from outside: every component is
opened by fd from its parent with O_NOFOLLOW, symlinks are resolved here against the tree's own root, and
what `.dockerignore` leaves out does not exist (K14). Paths given and returned are relative to the root, ""
for the root itself.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat

from estiva.builder.frontend import ignore
from estiva.errors import InvalidInput, NotFound, reason
from estiva.linux import fs

_MAX_LINKS = 40  # as path_resolution(7)
_MAX_DEPTH = 250
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
        if not self.exclude.negations or not stat.S_ISDIR(self.stat(path).st_mode):
            return False
        for name in self.names(path):
            child = f"{path}/{name}" if path else name
            if not self.hides(child) or self.has_visible(child):
                return True
        return False

    def glob(self, pattern: str) -> list[str]:
        """The paths that match a pattern of path elements, sorted; without a wildcard, the path itself,
        unchecked.
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
            regex = ignore.glob_regex(part)
            matched: list[str] = []
            for path in prefix:
                matched += [path + name for name in self._children(path) if regex.match(name)]
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

    def walk(self, path: str) -> list[str]:
        """Every visible path below a resolved directory, parents first, sorted, without the directory itself.

        A directory that is left out is listed only if something below it is not.
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
        return result

    def digest(self, path: str, *, exclude: ignore.Matcher | None = None) -> str:
        """A digest of what a resolved path holds: names, types, modes, content (and owners where they are
        kept).

        Times count for nothing, so a fresh checkout of the same files is the same source.
        """
        total = hashlib.sha256()
        top = self.stat(path)
        paths = [path]
        if stat.S_ISDIR(top.st_mode):
            paths += self.walk(path)
        strip = len(path) + 1 if path else 0
        for entry in paths:
            name = entry[strip:] if entry != path else ""
            if exclude and name and exclude.excluded(name):
                continue
            total.update(self._entry(entry, name))
        return total.hexdigest()

    def _entry(self, path: str, name: str) -> bytes:
        info = self.stat(path)
        mode = info.st_mode
        if stat.S_ISREG(mode):
            content = self._content(path, info)
        elif stat.S_ISLNK(mode):
            content, mode = self.readlink(path), stat.S_IFLNK
        else:
            content = str(info.st_rdev) if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else ""
        owner = f"{info.st_uid}:{info.st_gid}" if self.owners else ""
        fields = (name, oct(mode), owner, content)
        return "\0".join(fields).encode("utf-8", "surrogateescape") + b"\0\0"

    def _content(self, path: str, info: os.stat_result) -> str:
        key = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        known = self.digests.get(key)
        if known is not None:
            return known
        fd = self.open(path)
        with open(fd, "rb", buffering=0) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.digests[key] = digest
        return digest
