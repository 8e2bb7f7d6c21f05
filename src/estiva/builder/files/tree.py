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

from estiva.builder.files import identity, record
from estiva.builder.files.record import Record, nothing
from estiva.builder.frontend import ignore, patterns
from estiva.builder.struct import named
from estiva.errors import InvalidInput, NotFound, Unavailable, reason
from estiva.linux import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NamedTuple


_MAX_LINKS = 40  # as path_resolution(7)
_MAX_DEPTH = 250
_MUCH = 1 << 20  # bytes of a file
_MAX_MATCHES = 100_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Missing(InvalidInput):
    """A source path that is not in the tree."""


if TYPE_CHECKING:

    class Entry(NamedTuple):
        """A path that a walk comes by: `name` in the directory `parent`, an fd that is good for now."""

        path: str
        parent: int
        name: str
        info: os.stat_result
else:
    Entry = named("Entry", "path parent name info")


class Tree:
    """A source of files. `owners`: files keep their owner (stages and images); a context's are all root's.

    Owns `rootfd`, and closes it; it may be a file's. `excluded` are paths left out by patterns. `going` is
    called for each path and each piece of a file that is read: what it raises ends that.
    """

    going: Callable[[], object] = staticmethod(nothing)

    def __init__(self, rootfd: int, *, exclude: ignore.Matcher | None = None, owners: bool = False) -> None:
        self.rootfd = rootfd
        self.exclude = exclude or ignore.Matcher([])
        self.owners = owners
        self.digests: dict[identity.Identity, str] = {}  # of files that can be told from changed ones
        self.firm: set[identity.Identity] = set()  # those that nobody was writing

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

    def through(self, rootfd: int) -> Tree:
        """A tree of what a mount shows of files of this one: what is known of these is known of it."""
        tree = Tree(rootfd, owners=self.owners)
        tree.digests, tree.firm, tree.going = self.digests, self.firm, self.going
        return tree

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

    def is_much(self, path: str) -> bool:
        """Whether to read all of a resolved path may take long. Raises OSError."""
        info = self.stat(path)
        return stat.S_ISDIR(info.st_mode) or info.st_size > _MUCH

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
        """The paths of `entries`."""
        return [entry.path for entry in self.entries(path, without=without)]

    def entries(self, path: str, *, without: ignore.Matcher | None = None) -> Iterator[Entry]:
        """Every visible path below a resolved directory, parents first, sorted, without the directory itself.

        A directory that is left out comes only if something below it does not. `without` leaves out more, by
        names relative to `path`.
        """
        return self._without(path, without) if without else self._visible_below(path)

    def _visible_below(self, path: str) -> Iterator[Entry]:
        going, excludes = self.going, bool(self.exclude)
        waiting: list[Entry] = []  # directories left out that we are in, until something in them is not
        stack = [(path, self.open(path, os.O_RDONLY | os.O_DIRECTORY))]
        names = [sorted(os.listdir(stack[0][1]), reverse=True)]
        try:
            while stack:
                directory, fd = stack[-1]
                if not names[-1]:
                    os.close(stack.pop()[1])
                    names.pop()
                    if waiting and waiting[-1].path == directory:
                        waiting.pop()
                    continue
                going()
                name = names[-1].pop()
                child = f"{directory}/{name}" if directory else name
                hidden = excludes and self.hides(child)
                if hidden and not self.exclude.negations:
                    continue
                entry = Entry(child, fd, name, os.stat(name, dir_fd=fd, follow_symlinks=False))
                if not hidden:
                    yield from waiting
                    waiting.clear()
                    yield entry
                if stat.S_ISDIR(entry.info.st_mode):
                    if hidden:
                        waiting.append(entry)
                    if len(stack) > _MAX_DEPTH:
                        raise InvalidInput(f"the directory tree is too deep: {child[:100]}")
                    stack.append((child, os.open(name, _DIRECTORY, dir_fd=fd)))
                    names.append(sorted(os.listdir(stack[-1][1]), reverse=True))
        finally:
            for _, fd in stack:
                os.close(fd)

    def _without(self, path: str, without: ignore.Matcher) -> Iterator[Entry]:
        strip = len(path) + 1 if path else 0
        waiting: list[Entry] = []  # directories left out, until `!` takes back something in them
        for entry in self._visible_below(path):
            while waiting and not entry.path.startswith(waiting[-1].path + "/"):
                waiting.pop()
            if not without.excluded(entry.path[strip:]):
                yield from waiting
                waiting.clear()
                yield entry
            elif stat.S_ISDIR(entry.info.st_mode):
                waiting.append(entry)

    def digest(self, path: str, *, exclude: ignore.Matcher | None = None, firm: bool = False) -> str:
        """What a resolved path holds, as the cache's key covers it (files/record.py)."""
        total = Record(self.owners)
        self.look(path, total, exclude=exclude, firm=firm)
        return total.digest()

    def look(
        self,
        path: str,
        into: Record,
        *,
        exclude: ignore.Matcher | None = None,
        firm: bool = False,
        most: int = 0,
    ) -> bool:
        """Add what a resolved path holds to a record. Whether it is a directory. See `sights`."""
        directory = False
        for name, info, text in self.sights(path, exclude=exclude, firm=firm, most=most):
            into.add(name, info, text)
            directory |= not name and stat.S_ISDIR(info.st_mode)
        return directory

    def sights(
        self, path: str, *, exclude: ignore.Matcher | None = None, firm: bool = False, most: int = 0
    ) -> Iterator[tuple[str, os.stat_result, str]]:
        """What a look at a resolved path and all below it sees, for a record: names below it, "" its own.

        firm: of files that are read, find out whether anybody writes to them, for `self.firm`.
        most: a file of more bytes, if that is not 0, is no file that can be copied: Unavailable is raised.
        """
        info = self.stat(path)
        if not stat.S_ISDIR(info.st_mode):
            parent, name = self.parent(path) if path else (os.dup(self.rootfd), "")
            try:
                yield "", *self._content(Entry(path, parent, name, info), firm, most)
            finally:
                os.close(parent)
            return
        yield "", info, ""
        strip = len(path) + 1 if path else 0
        for entry in self.entries(path, without=exclude):
            yield entry.path[strip:], *self._content(entry, firm, most)

    def above(self, base: str, relative: str) -> list[str]:
        """The directories of `relative`, which is below `base`, from the outermost on."""
        found = []
        for part in [part for part in relative.split("/") if part][:-1]:
            base = f"{base}/{part}" if base else part
            found.append(base)
        return found

    def _content(self, entry: Entry, firm: bool, most: int) -> tuple[os.stat_result, str]:
        """A file's content for a record, read once in a build while it is the same, or a link's target."""
        info = entry.info
        if stat.S_ISLNK(info.st_mode):
            return info, os.readlink(entry.name, dir_fd=entry.parent)
        if not stat.S_ISREG(info.st_mode):
            return info, ""
        if 0 < most < info.st_size:
            message = f"{entry.path} has {info.st_size} bytes, more than the disk that it would be copied to"
            raise Unavailable(message, hint="leave it out by .dockerignore")
        seen = identity.of(info)
        if seen in self.digests and (not firm or seen in self.firm):
            return info, self.digests[seen]
        now = identity.clock()
        if entry.name:
            fd = os.open(entry.name, _FILE, dir_fd=entry.parent)
        else:
            fd = fs.reopen_regular(entry.parent)
        try:
            unwritten = firm and identity.unwritten(fd)
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise InvalidInput(f"{entry.path} changed while it was read")
            text = record.content(fd, record.attributes(fd) if self.owners else {}, look=self.going)
        finally:
            os.close(fd)
        if self.owners or identity.settles(info) < now:  # a layer's files don't change
            self.digests[identity.of(info)] = text
            if unwritten:
                self.firm.add(identity.of(info))
        return info, text
