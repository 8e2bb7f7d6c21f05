"""Which mounts of this namespace are in a peer group: mount_namespaces(7), proc_pid_mountinfo(5)."""

from __future__ import annotations

import os

from estiva.linux.procinfo import mount_id


def shared(path: str) -> bool:
    """Whether the mount that holds `path`, or one below `path`, shares its mounts with others."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        number = b"%d" % mount_id(fd)
        real = os.fsencode(os.readlink(f"/proc/self/fd/{fd}")).rstrip(b"/") + b"/"
    finally:
        os.close(fd)
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields = line.split(b" - ", 1)[0].split()
            # Blanks and the like are octal escapes in a mount point; a path that has them is compared raw
            # and so may be missed below the source, never for the source itself.
            if (fields[0] == number or fields[4].startswith(real)) and b" shared:" in line:
                return True
    return False
