"""A namespace by its path, known to be of the kind that was asked for: ioctl_ns(2)."""

from __future__ import annotations

import errno
import fcntl
import os

from estiva.errors import InvalidInput
from estiva.linux import namespace as ns

_NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)


def open_namespace(kind: str, path: str) -> int:
    """An fd of the namespace of that kind at `path`. Raises InvalidInput, OSError."""
    where = f"linux.namespaces: the {kind} namespace {path}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise InvalidInput(f"{where} can't be opened: {os.strerror(error.errno or 0).lower()}") from None
    try:
        found = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.ENOTTY, errno.EINVAL, errno.ENXIO):
            raise InvalidInput(f"{where} is not a namespace") from None
        raise
    if found != ns.NAMESPACES[kind][0]:
        os.close(fd)
        real = next((k for k, (flag, _) in ns.NAMESPACES.items() if flag == found), "another")
        raise InvalidInput(f"{where} is a {real} namespace")
    return fd
