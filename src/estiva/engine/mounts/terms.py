"""On what terms files go from one root to another: see trees.py."""

from __future__ import annotations

import errno
import os
import stat

from estiva.errors import InvalidInput, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
SET_IDS = stat.S_ISUID | stat.S_ISGID


class Terms:
    """On what terms files go from one side to the other.

    special   device nodes and fifos too; between a container and the host devices mean harm, and are left out
    fifos     of those fifos alone
    owner     whose all becomes, without setuid and setgid of what was another's; None: whose it was, by `ids`
              if those are other ids there
    root      ids that are the `owner` already, where files come from
    chown     whether owners are set at all; else all is who makes it's
    plain     without setuid, setgid and capabilities, for the host (K21)
    merge     what is there already stays: folders get more in them, other files are replaced by name
    time      of all, in nanoseconds; None: as it was
    kernel    procfs, sysfs and the like too, where the caller has named them; else what is there is left out
    """

    __slots__ = ("special", "fifos", "owner", "root", "ids", "chown", "plain", "merge", "kernel", "time")

    def __init__(
        self,
        *,
        special: bool = False,
        fifos: bool = False,
        owner: tuple[int, int] | None = None,
        root: tuple[int, int] = (0, 0),
        ids: Callable[[int, int], tuple[int, int]] | None = None,
        chown: bool = True,
        plain: bool = False,
        merge: bool = False,
        kernel: bool = False,
        time: int | None = None,
    ) -> None:
        self.special = special
        self.fifos = fifos
        self.owner = owner
        self.root = root
        self.ids = ids
        self.chown = chown
        self.plain = plain
        self.merge = merge
        self.kernel = kernel
        self.time = time

    def times(self, status: os.stat_result) -> tuple[int, int]:
        """When it was last read and changed."""
        if self.time is not None:
            return self.time, self.time
        return status.st_atime_ns, status.st_mtime_ns

    def own(self, name: str | int, status: os.stat_result, at: int | None = None) -> None:
        """chown(2) of a name in the directory `at`, or of an fd."""
        if not self.chown:
            return
        uid, gid = self.owner or (status.st_uid, status.st_gid)
        if self.ids is not None and self.owner is None:
            uid, gid = self.ids(uid, gid)
        os.chown(name, uid, gid, dir_fd=at, follow_symlinks=at is None)

    def enter(self, name: str, at: int) -> int:
        """An fd of the folder `name`, made or, to merge, there already. Raises InvalidInput where no folder
        is."""
        try:
            os.mkdir(name, 0o700, dir_fd=at)
        except FileExistsError:
            if not self.merge:
                raise
        try:
            return os.open(name, FOLDER, dir_fd=at)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise InvalidInput(f"no folder is where the folder {oneline(name)} goes") from None
            raise

    def mode(self, status: os.stat_result) -> int:
        mode = stat.S_IMODE(status.st_mode)
        if self.plain:
            return mode & ~SET_IDS
        if self.owner is not None:  # nobody's program runs as root because it was copied
            if status.st_uid != self.root[0]:
                mode &= ~stat.S_ISUID
            if status.st_gid != self.root[1]:
                mode &= ~stat.S_ISGID
        return mode

    def keeps(self, attribute: str) -> bool:
        return attribute.startswith("user.") or attribute == "security.capability" and not self.plain

    def takes(self, mode: int) -> bool:
        """Whether a file of that kind, which is no folder, goes along."""
        kind = stat.S_IFMT(mode)
        if kind in (stat.S_IFREG, stat.S_IFLNK):
            return True
        return self.special and kind != stat.S_IFSOCK or self.fifos and kind == stat.S_IFIFO


ALL = Terms(special=True)
OUT = Terms(chown=False, plain=True, merge=True)


def dress(fd: int, status: os.stat_result, source: int, terms: Terms) -> None:
    """Give an open file what the terms leave of another's owner, mode, extended attributes and times."""
    terms.own(fd, status)
    os.fchmod(fd, terms.mode(status))
    for name in os.listxattr(source):
        if terms.keeps(name):
            try:
                os.setxattr(fd, name, os.getxattr(source, name))
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ENODATA):
                    raise
    os.utime(fd, ns=terms.times(status))
