"""For containers that may trace (CAP_SYS_PTRACE): the engine goes on from a read-only mount of its own file.

What is not dumpable is still open to who has that capability in the host's user namespace: such a container
may open /proc/PID/exe of a process of ours on its way in, and write to that file, the host's interpreter,
once nothing runs it any more (CVE-2019-5736). Started from a mount of its own that is read-only, the file
that /proc/PID/exe leads to can't be opened for writing at all. It costs the start of an interpreter, so only
where it is needed. Tracing such a process remains possible to those containers: docs/security.md.
"""

from __future__ import annotations

import os
import sys

from estiva.linux import mount as mnt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def needed(process: dict[str, Any], own_user_namespace: bool) -> bool:
    """Whether a container with this OCI process may look into others' /proc/PID."""
    bounding = (process.get("capabilities") or {}).get("bounding") or ()
    return "CAP_SYS_PTRACE" in bounding and not own_user_namespace


def ensure() -> None:
    """Execute this process's program again from a read-only mount, with the same arguments, environment and
    fds, unless it runs from one. Call it before anything was begun; in a process that is a command line.

    Where mounts can't be made (rootless) the interpreter is not the container's to write to either: nothing
    is done.
    """
    own = "/proc/self/exe"
    if os.statvfs(own).f_flag & os.ST_RDONLY:
        return
    try:
        fd = mnt.clone_tree(own)
        mnt.mount_setattr(fd, "", mnt.MOUNT_ATTR_RDONLY)
    except PermissionError:
        return
    os.execve(f"/proc/self/fd/{fd}", sys.orig_argv, os.environ)
