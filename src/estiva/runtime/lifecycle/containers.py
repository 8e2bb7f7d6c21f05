"""The containers under ROOT that outlive the command that made them: runtime-spec runtime.md, "State".

One directory per container, ROOT/ID, 0700:

    state.json     what the container is: pid with its start time, bundle, cgroup; written aside and renamed
    config.json    the bundle's, as it was at create: later changes to it mean nothing
    cgroup         a symlink that names the cgroup, from before that is made: for who finds no state.json
    start.sock     there while init waits for `start` (launch/start_socket.py)
    notify/        the socket that the container's systemd-style readiness goes to (NOTIFY_SOCKET)

A container's status is never stored, it is looked up: `creating` until state.json is there, `created` while
start.sock is, `stopped` when init is gone, `paused` when its cgroup is frozen, else `running`.

Who makes a container holds its lock (flock(2) of the directory) until state.json is there; the kernel drops
it with a maker that is killed. Verbs that change a container hold it too, one at a time.
"""

from __future__ import annotations

import fcntl
import os

from estiva import fastjson, files
from estiva.errors import Conflict, EstivaError, InvalidInput, NotFound, StateError
from estiva.linux import procinfo
from estiva.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.launch.hooks import Hooks

CONFIG = "config.json"
CGROUP = "cgroup"
_LIMIT = 16 << 20  # bytes of it
_NAME_LIMIT = 255


def check_id(id: str) -> str:
    """A container's id becomes the name of a directory (K9). Raises InvalidInput."""
    if (
        not id
        or id in (".", "..")
        or len(id) > _NAME_LIMIT
        or not all((c.isascii() and c.isalnum()) or c in "_+-." for c in id)
    ):
        raise InvalidInput(f"{id!r} is not a container id", hint="letters, digits, _ + - . are allowed")
    return id


class Container:
    """A container by its state: `record` is state.json. `status` looks anew each time."""

    def __init__(self, directory: str, record: dict[str, Any]) -> None:
        self.directory = directory
        self.record = record
        self.id: str = record["id"]
        self.pid: int = record["pid"]
        self.making: Cgroup | None = None  # its cgroup, while it is made
        self.held = -1  # the maker's lock

    @property
    def alive(self) -> bool:
        return state.alive(self.pid, self.record["start_time"])

    @property
    def cgroup(self) -> Cgroup | None:
        path = self.record["cgroup"]
        if not path:
            return None
        from estiva.runtime.cgroup import factory  # not for `start`

        return factory.open(path, self.record.get("scope", ""))

    def status(self) -> str:
        """created, running, paused or stopped."""
        if not self.alive:
            return "stopped"
        from estiva.runtime.launch import start_socket

        if start_socket.waiting(self.directory):
            return "created"
        group = self.cgroup
        return "paused" if group is not None and group.frozen() else "running"

    def config(self) -> dict[str, Any]:
        """The config that it was created with. Raises StateError, InvalidInput (it is damaged), OSError."""
        path = f"{self.directory}/{CONFIG}"
        config = fastjson.loads(files.read_bounded(path, _LIMIT), what=path)
        if not isinstance(config, dict):
            raise StateError(f"{path} is not a json object")
        return config

    def oci_state(self) -> dict[str, Any]:
        """The state object of the runtime-spec; pid is 0 once stopped."""
        status = self.status()
        return {
            "ociVersion": self.record["ociVersion"],
            "id": self.id,
            "status": status,
            "pid": 0 if status == "stopped" else self.pid,
            "bundle": self.record["bundle"],
            "annotations": self.record["annotations"],
        }

    def hooks(self) -> Hooks | None:
        """Those of its config; None without any. Raises as `config` does."""
        # records of before there was such a field leave them to the config
        told = self.record["hooks"] if "hooks" in self.record else self.config().get("hooks")
        if not told:
            return None
        from estiva.runtime.launch.hooks import Hooks

        keys = ("ociVersion", "id", "bundle", "annotations")
        return Hooks(told, {key: self.record[key] for key in keys})

    def signal(self, number: int) -> None:
        """To init. Raises Conflict when it is gone."""
        try:
            pidfd = procinfo.pidfd_open(self.pid)
        except ProcessLookupError:
            raise not_running(self.id) from None
        try:
            if not self.alive:
                raise not_running(self.id)
            procinfo.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            raise not_running(self.id) from None
        finally:
            os.close(pidfd)

    def lock(self) -> int:
        """An fd that holds the container for one verb at a time. Raises NotFound when it is gone."""
        try:
            return lock(self.directory)
        except FileNotFoundError:
            raise missing(self.id) from None

    def let_go(self) -> None:
        """The maker's lock: the container stands, or is taken away again."""
        if self.held >= 0:
            os.close(self.held)
            self.held = -1


def lock(directory: str) -> int:
    """Wait for the lock of a container's directory; an fd that has it. Raises OSError, StateError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.flock(fd, fcntl.LOCK_EX, directory)
    except BaseException:
        os.close(fd)
        raise
    return fd


def not_running(id: str) -> Conflict:
    """The error for one whose init is gone, in runc's words."""
    return Conflict(f"container not running: {id}")


def missing(id: str) -> NotFound:
    """The error for a container that is not there, in runc's words."""
    return NotFound(f'container "{id}" does not exist')


def load(root: str, id: str) -> Container:
    """The container of that id. Raises InvalidInput, NotFound, StateError."""
    directory = f"{root}/{check_id(id)}"
    record = state.read(directory)
    if record is None:
        raise missing(id)
    return Container(directory, record)


def everything(root: str) -> list[Container]:
    """All containers, by id; what is being created, or is damaged, is left out."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            found.append(load(root, name))
        except EstivaError:
            continue
    return found


def sweep_half_made(root: str, id: str) -> bool:
    """Remove a directory without state.json, whose maker was killed, and the cgroup that it names. False if
    there is none, also when a maker that is waited for gets done.

    Raises EngineError when there are processes in the cgroup that don't end. Init ends by itself, since it
    waits for a word of its maker's and sees end of file; so does criu, with what it has restored.
    """
    directory = f"{root}/{check_id(id)}"
    try:
        held = lock(directory)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        if not _is_still(directory, held) or state.read(directory) is not None:
            return False
        try:
            path = os.readlink(f"{directory}/{CGROUP}")
        except FileNotFoundError:
            path = ""
        if path:
            _remove_cgroup(root, path)
        files.remove_tree(directory)
        return True
    finally:
        os.close(held)


def _is_still(directory: str, fd: int) -> bool:
    """Whether an fd of it is, and not of one that its maker has removed while we waited."""
    try:
        return os.path.samestat(os.stat(directory), os.fstat(fd))
    except FileNotFoundError:
        return False


def _remove_cgroup(root: str, path: str) -> None:
    """That of a container of which no more is known; not one of another container's, for which ours was
    refused."""
    from estiva.runtime.cgroup import factory

    taken = {made.record.get("cgroup") for made in everything(root)}
    for group in factory.places(path):
        if group.path not in taken and group.exists():
            group.remove()
