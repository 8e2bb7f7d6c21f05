"""Whether a file is still what was read, told by its times: only the kernel sets a change time (ctime).

A change counts as seen when the file's identity is another one afterwards. That needs two things when it is
read. The change time must be older than the clock that change times are taken from, which only moves on with
the timer's tick: a change within the same tick leaves the same time. And nobody may have it open for writing.
A write(2) that stalls on its source has set the time already, and so has the first store into a page that is
mapped shared: what is stored there after it changes no time until the page has been written back.

inode(7), stat(2), fcntl(2) on leases; kernel Documentation/filesystems/multigrain-ts.rst.
"""

from __future__ import annotations

import fcntl
import os
import time
from _signal import SIGURG

from estiva.linux import fs

Identity = tuple[int, int, int, int, int, int]

SLACK = 20_000_000  # nanoseconds that a change time must be old: two ticks of the slowest timer
_SECOND = 1_000_000_000
_COARSE = 5  # CLOCK_REALTIME_COARSE, clock_gettime(2)

# Filesystems that set the change time when a page of a shared mapping is first stored to. A tmpfs does not if
# the page was read before, and a FUSE or network filesystem tells what it likes.
_HONEST = frozenset((fs.EXT4_SUPER_MAGIC, fs.XFS_SUPER_MAGIC, fs.BTRFS_SUPER_MAGIC))


def of(info: os.stat_result) -> Identity:
    """What is another whenever a file's content, mode, owner or attributes were changed, or it is another."""
    return info.st_dev, info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def clock() -> int:
    """The time that a change would get now, in nanoseconds."""
    return time.clock_gettime_ns(_COARSE)


def settles(info: os.stat_result) -> int:
    """When (by `clock`) a file that is looked at can be told from what a later change makes of it."""
    whole = info.st_ctime_ns % _SECOND == 0  # a filesystem that keeps no parts of seconds, as a rule
    return info.st_ctime_ns + SLACK + (_SECOND if whole else 0)


def honest(fd: int) -> bool:
    """Whether the filesystem of a file is one whose times can be relied on."""
    return fs.fstatfs(fd) in _HONEST


def unwritten(fd: int) -> bool:
    """Whether nobody has the file of a read-only fd open for writing, or mapped so: then it can be leased.

    False also where there are no leases.
    """
    try:
        # who opens it in that moment makes the kernel tell us, by a signal: one that does nothing
        fcntl.fcntl(fd, fcntl.F_SETSIG, SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    return True
