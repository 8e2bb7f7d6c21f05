"""Room for those who free space on a full disk: they have to write into the database first.

In this order, until there is enough: a file that was set aside for it; what killed processes left half
written, downloads to go on from too; compiled filters, which the next start makes again; at last the
database's own log, whose content is brought into the database, so that it is written from its beginning,
over blocks that it has.
"""

from __future__ import annotations

import os

from estiva import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3

SIZE = 256 << 10  # bytes
SUFFIX = ".reserve"


def set_aside(database: str) -> None:
    """Make the reserve of the database at this path where it is missing and there is space."""
    path = database + SUFFIX
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return  # most often it is there
    try:
        os.posix_fallocate(fd, 0, SIZE)
    except OSError:
        _unlink(path)
    finally:
        os.close(fd)


def full(database: str, least: int = SIZE) -> bool:
    """Whether less than `least` bytes, or no inode, are left beside the database."""
    try:
        status = os.statvfs(os.path.dirname(database) or ".")
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < least or (status.f_files > 0 and status.f_favail == 0)


def make_room(database: str, connection: sqlite3.Connection) -> None:
    """Do all of the above that it takes. The connection is in no transaction. Raises nothing."""
    _unlink(database + SUFFIX)
    root = os.path.dirname(database)
    if full(database):
        files.sweep(f"{root}/ingest", lambda _: True)
    if full(database):
        filters = f"{root}/cache/seccomp"
        for name in os.listdir(filters) if os.path.isdir(filters) else ():
            _unlink(f"{filters}/{name}")
    if full(database):
        try:
            connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        except Exception:
            pass  # the database would have had to grow: the transaction tells


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
