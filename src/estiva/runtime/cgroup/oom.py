"""Being told of the out-of-memory killer in a cgroup when it comes.

v1: an eventfd registered at memory.oom_control (cgroup-v1/memory.rst, "OOM Control"). v2: memory.events,
which a poll for POLLPRI waits on (cgroup-v2.rst, "memory.events"). What is told is that something was: the
counters say what, and on v1 also of the cgroups below, which the eventfd does not speak for.
"""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.runtime.cgroup import Cgroup


class Watch:
    """Poll `fd` (-1: there is nothing to poll) for `interest`, then ask `happened`."""

    def __init__(self, group: Cgroup, known: int | None = None) -> None:
        """`known`: how often somebody has been killed that is no news; None for all so far."""
        self._group = group
        self._killed = group.oom_kills() if known is None else known
        self._early = 0  # what was told of before the counters had it
        self._v2 = group.places.version == "v2"
        self.interest = select.POLLPRI if self._v2 else select.POLLIN
        try:
            self.fd = self._open_v2() if self._v2 else self._open_v1()
        except OSError:
            self.fd = -1

    def _open_v2(self) -> int:
        fd = os.open(f"{self._group.directories[0]}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        os.pread(fd, 4096, 0)  # from here on changes are told
        return fd

    def _open_v1(self) -> int:
        place = self._group.places.where.get("memory", "") + self._group.path
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            control = os.open(f"{place}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                ask = os.open(f"{place}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(ask, b"%d %d" % (fd, control))
                finally:
                    os.close(ask)
            finally:
                os.close(control)
        except BaseException:
            os.close(fd)
            raise
        return fd

    @property
    def known(self) -> int:
        """How often somebody has been killed, as far as that has been told."""
        return self._killed + self._early

    def happened(self, told: bool) -> bool:
        """Whether memory has run out since the last call; `told` is whether `fd` was ready."""
        if told and self._v2:
            os.pread(self.fd, 4096, 0)
        elif told:
            os.eventfd_read(self.fd)
            if not self._group.exists():  # the end of the cgroup is told the same way
                return False
        now = self._group.oom_kills()
        new, self._killed = max(0, now - self._killed), max(now, self._killed)
        if told and not self._v2 and not new:
            self._early += 1
            return True
        early = min(new, self._early)
        self._early -= early
        return new > early
