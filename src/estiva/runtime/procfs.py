"""Files of the kernel's in /proc, opened only where /proc is a procfs for sure (K5)."""

from __future__ import annotations

import errno
import os

from estiva.linux import fs


def open_proc(path: str) -> int:
    """Open a file of the host's /proc for writing. Raises OSError, also for what is in no procfs."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    if fs.fstatfs(fd) != fs.PROC_SUPER_MAGIC:
        os.close(fd)
        raise OSError(errno.ENODEV, "it is not in a procfs", path)
    return fd
