"""cgroup v2: one directory in one tree. Kernel: Documentation/admin-guide/cgroup-v2.rst."""

from __future__ import annotations

import errno
import os
import time
from select import POLLERR, POLLPRI, poll

from estiva.errors import Conflict, EngineError, LimitRefused, NotFound
from estiva.runtime.cgroup.base import Cgroup, denied, step_error, unmake
from estiva.runtime.cgroup.control import pairs, put, read, read_or
from estiva.runtime.cgroup.layout import Layout
from estiva.runtime.cgroup.v2.tree import enable, own_cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What a container is measured and limited by; the rest is switched on when a limit asks for it.
USUAL = ("cpu", "io", "memory", "pids")


class CgroupV2(Cgroup):
    """See `Cgroup`."""

    @property
    def directory(self) -> str:
        return self.directories[0]

    @classmethod
    def make(cls, path: str, places: Layout, resources: dict[str, Any]) -> CgroupV2:
        """See factory.create. Without the right to write at the root the cgroup is made below the one that
        was delegated to the caller, and `path` says so."""
        above: list[str] = []  # that was missing, and made
        try:
            return cls._make(path, places, resources, above)
        except BaseException:
            unmake(above)
            raise

    @classmethod
    def _make(cls, path: str, places: Layout, resources: dict[str, Any], above: list[str]) -> CgroupV2:
        root = places.mounts[0]
        try:
            made = _make(root, path, above)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise denied(root + path, error) from error
            below = own_cgroup()
            if not below or path.startswith(below + "/"):
                raise denied(root + path, error) from error
            path = below + path
            try:
                made = _make(root, path, above)
            except OSError as again:
                raise denied(root + path, again) from again
        self = cls(path, places)
        try:
            if not made:
                self._check_empty()
            self._prepare()
            if resources:
                self._limit(resources)
        except BaseException:
            if made:
                unmake([self.directory])
            raise
        return self

    def _prepare(self) -> None:
        """Have the usual controllers, where the machine has them; say so when no process could enter."""
        have = read(self.directory + "/cgroup.controllers").split()
        if all(name in have for name in USUAL):
            return
        enable(self.places.mounts[0], self.path, set(USUAL))
        if read_or(self.directory + "/cgroup.type", "domain").endswith("invalid"):
            raise Conflict(
                f"cgroup {self.path} is in a threaded subtree, which can't hold whole processes",
                hint="give --cgroup-parent a cgroup outside it",
            )

    def _limit(self, resources: dict[str, Any]) -> None:
        """Set the first limits. While another process is switching controllers on above us,
        cgroup.controllers has their names already and the control files are not there yet; a write to
        cgroup.subtree_control waits for that other write, even one that changes nothing."""
        try:
            self.update(resources)
        except LimitRefused as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            control = os.path.dirname(self.directory) + "/cgroup.subtree_control"
            try:
                put(control, " ".join(["+" + name for name in read(control).split()]))
            except OSError:
                raise error from error.__cause__
            self.update(resources)

    def enter_fd(self) -> int:
        """The caller closes it. Raises NotFound."""
        try:
            return os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise step_error("can't open cgroup", self.path, error) from error

    def enter(self) -> None:
        """Does nothing for a process that was cloned into it, which costs no system-wide lock."""
        if own_cgroup(strip=False) == self.path:
            return
        self.add(0)

    def add(self, pid: int, *, one_thread: bool = False) -> None:
        try:
            put(self.directory + "/cgroup.procs", str(pid))
        except OSError as error:
            if error.errno == errno.ESRCH:
                raise NotFound(f"process {pid} is gone") from error
            if error.errno == errno.EBUSY:
                raise Conflict(
                    f"cgroup {self.path} can't hold processes: it limits the cgroups below it"
                ) from error
            raise step_error("can't enter cgroup", self.path, error) from error

    # --- freeze, thaw, kill -------------------------------------------------------------------------------

    def freeze(self, timeout: float = 2.0) -> None:
        """cgroup.freeze is a wish; cgroup.events tells, and wakes a poll, when all processes stand."""
        self._set_frozen("1")
        if self._await_event("frozen", 1, timeout):
            return
        self._set_frozen("0")
        raise EngineError(f"cgroup {self.path} can't be frozen: a process stays in an uninterruptible call")

    def thaw(self, timeout: float = 2.0) -> None:
        try:
            self._set_frozen("0")
            self._await_event("frozen", 0, timeout)
        except NotFound:
            pass

    def _set_frozen(self, value: str) -> None:
        try:
            put(self.directory + "/cgroup.freeze", value)
        except OSError as error:
            raise step_error("can't freeze or thaw cgroup", self.path, error) from error

    def _await_event(self, name: str, value: int, timeout: float) -> bool:
        """Wait until `name` in cgroup.events is `value`; False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        try:
            fd = os.open(self.directory + "/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
            try:
                waiter = poll()
                waiter.register(fd, POLLPRI | POLLERR)
                while pairs(os.pread(fd, 4096, 0).decode()).get(name) != value:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return False
                    waiter.poll(min(left, 0.5) * 1000)
                return True
            finally:
                os.close(fd)
        except OSError as error:
            raise step_error("can't watch cgroup", self.path, error) from error

    def _kill_at_once(self) -> bool:
        """cgroup.kill (Linux 5.14) reaches the whole subtree, forks under way included."""
        try:
            put(self.directory + "/cgroup.kill", "1")
        except FileNotFoundError:
            return not self.exists()
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.EOPNOTSUPP):
                return not self.exists()
            raise step_error("can't kill cgroup", self.path, error) from error
        try:
            self._await_event("populated", 0, 1.0)
        except NotFound:
            pass
        return True

    # --- limits and accounts ------------------------------------------------------------------------------

    def update(self, resources: dict[str, Any]) -> None:
        from estiva.runtime.cgroup.v2.limits import apply

        apply(self.places.mounts[0], self.path, resources)

    def oom_kills(self) -> int:
        return pairs(read_or(self.directory + "/memory.events")).get("oom_kill", 0)

    def stats(self) -> dict[str, Any]:
        from estiva.runtime.cgroup.v2.stats import collect

        if not self.exists():
            raise NotFound(f"cgroup {self.path} is gone")
        return collect(self.directory, self.oom_kills())


def _make(root: str, path: str, above: list[str]) -> bool:
    """Make the cgroup and what is missing above it, which is noted; False when it was there. Raises
    OSError."""
    directory = root + path
    for _ in range(3):  # a parent may be removed by another between its making and ours
        try:
            os.mkdir(directory, 0o755)
            return True
        except FileExistsError:
            return False
        except FileNotFoundError:
            place = ""
            for step in path.strip("/").split("/")[:-1]:
                place += "/" + step
                try:
                    os.mkdir(root + place, 0o755)
                    above.append(root + place)
                except (FileExistsError, FileNotFoundError):
                    pass
                except PermissionError:
                    if not os.path.isdir(root + place):
                        raise
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)
