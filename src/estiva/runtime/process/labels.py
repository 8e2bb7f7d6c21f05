"""process.apparmorProfile and process.selinuxLabel: what a security module confines the command with.

runtime-spec config.md, "Linux Process". The label is written to /proc/self/attr before execve(2), which takes
it on. The files are opened while /proc is still the host's, and are known to be in a procfs (K5).
"""

from __future__ import annotations

import errno
import os

from estiva.errors import Unsupported, oneline
from estiva.linux import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_SELINUX = "/sys/fs/selinux"
_UNCONFINED = ("", "unconfined")


def apparmor() -> bool:
    """Whether the kernel confines by AppArmor."""
    try:
        with open(_APPARMOR) as file:
            return file.read(1) == "Y"
    except OSError:
        return False


def selinux() -> bool:
    """Whether the kernel has a SELinux policy loaded: its filesystem is mounted."""
    try:
        fd = os.open(_SELINUX, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return fs.fstatfs(fd) == fs.SELINUX_MAGIC
    finally:
        os.close(fd)


class Labels:
    """The labels that a process asks for. Raises Unsupported where the kernel doesn't know them."""

    def __init__(self, process: dict[str, Any]) -> None:
        self.entries: list[tuple[str, bytes]] = []  # (file below /proc/self/attr, what is written)
        self.fds: list[int] = []
        profile = process.get("apparmorProfile") or ""
        if profile and not apparmor():
            if profile not in _UNCONFINED:
                raise Unsupported(
                    f"process.apparmorProfile: {oneline(profile)} can't be applied: there is no AppArmor here"
                )
        elif profile:
            # The directory is there since Linux 5.8; before, the first module in the list had the file.
            name = "apparmor/exec" if os.path.isdir("/proc/self/attr/apparmor") else "exec"
            self.entries.append((name, f"exec {profile}".encode()))
        label = process.get("selinuxLabel") or ""
        if label:
            if not selinux():
                raise Unsupported(
                    f"process.selinuxLabel: {oneline(label)} can't be applied: SELinux is not enabled here"
                )
            self.entries.append(("exec", label.encode()))
            self.entries.append(("keycreate", label.encode()))

    def open(self) -> None:
        """In the process itself, while /proc is the host's. Raises OSError."""
        for name, _ in self.entries:
            path = f"/proc/self/attr/{name}"
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            if fs.fstatfs(fd) != fs.PROC_SUPER_MAGIC:
                raise OSError(errno.ENODEV, "it is not in a procfs", path)
            self.fds.append(fd)

    def apply(self) -> None:
        """Right before execve. Raises OSError naming the label."""
        for (_, text), fd in zip(self.entries, self.fds, strict=True):
            try:
                os.write(fd, text)
            except OSError as error:
                raise OSError(error.errno, error.strerror, text.decode()) from None
