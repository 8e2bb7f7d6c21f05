"""The processes of a container in a snapshot of it (cold path): written by criu(8) while they stand still,
beside the copy of the files; a container that is made from it without a command of its own goes on there.

What leads out of the container can't be kept: it is refused, by name.
"""

from __future__ import annotations

import os

from estiva import fastjson, programs
from estiva.engine.launch import interpreter
from estiva.engine.launch.start import IDLE, idles
from estiva.engine.spec import oci_config
from estiva.errors import Conflict, EngineError, EstivaError, Unsupported
from estiva.linux import procinfo
from estiva.runtime.cgroup import factory
from estiva.store import states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.state.types import Record, RunState
    from estiva.runtime.cgroup import Cgroup
    from estiva.store.images import Image

HINT = "without memory=True (--memory) its files are kept"
FILES = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")  # each container's own: mounts/hostfiles.py
ENDED = ("06", "07", "0A")  # states of TCP sockets that are no connection: TIME_WAIT, CLOSE, LISTEN
ROOM = 64 << 20  # bytes of the disk that stay free
_LARGEST = 16 << 20  # bytes of a table of the kernel's


def refused(record: Record, why: str) -> Unsupported:
    name = record["Name"].removeprefix("/")
    return Unsupported(f"a snapshot of container {name} with its processes can't be made: {why}", hint=HINT)


def check(record: Record) -> None:
    """Of what is known before it stands still. Raises Unsupported, Conflict."""
    if not record["State"]["Running"]:
        name = record["Name"].removeprefix("/")
        raise Conflict(f"container {name} does not run: it has no processes to keep", hint=HINT)
    if why := _in_the_way(record["HostConfig"], bool(record["Config"].get("Tty"))):
        raise refused(record, why)
    for point in record["Mounts"]:
        if "Detached" in point or "Subpath" in point:
            raise refused(record, f"what is mounted at {point['Destination']} can't be given back")
    if not programs.find("criu"):
        raise refused(record, "criu is not installed")


def _in_the_way(host: Any, tty: bool) -> str:
    """What of a container's HostConfig its processes can't be taken along with; "" for nothing."""
    if tty:
        return "it has a terminal"
    if host.get("Profile") or host.get("UsernsMode"):
        return "it has a user namespace of its own, whose ids are nobody else's"
    if host.get("NetworkMode") == "host":
        return "it has the host's network"
    if oci_config.special(host):
        return "it has namespaces of others"
    return ""


def begin(engine: Engine, image: Image, asked: Any, host: Any) -> None:
    """Of a new container, from such a snapshot: with a command of its own it gets the files alone; else what
    its first process is, is said by the snapshot. Raises Unsupported for options that can't be."""
    if asked.get("Entrypoint") or (asked.get("Cmd") or [IDLE]) != [IDLE]:
        image.memory = ""
        return
    about = states.resolve(engine.db, image.memory).about["memory"]
    if why := _in_the_way(host, bool(asked.get("Tty"))):
        raise Unsupported(
            f"a container can't go on from the memory of snapshot {asked['Image']}: {why}",
            hint="with a command of its own it begins with the files alone",
        )
    asked["Cmd"] = [IDLE] if about["idle"] else None
    asked["Entrypoint"] = [] if about["idle"] else None
    host.pop("Init", None)
    if about["init"]:
        host["Init"] = True


def about(record: Record) -> states.Memory:
    return {"init": bool(record["HostConfig"].get("Init")), "idle": idles(record)}


def keep(engine: Engine, record: Record, live: RunState, state_id: str) -> None:
    """Write the processes of one that stands still to a state's folder. Raises Unsupported, EngineError."""
    group = factory.open(live["cgroup"])
    if why := _held(record, live, group):
        raise refused(record, why)
    directory = states.memory(engine.paths, state_id)
    needed, free = _size(group), _free(states.folder(engine.paths, state_id))
    if needed + ROOM > free:
        raise refused(record, f"they have {needed >> 20} MB, and the disk has {free >> 20} MB left")
    binds = [point["Destination"] for point in record["Mounts"] if point["Type"] not in ("tmpfs", "devpts")]
    binds += [path for path in FILES if path not in binds]
    try:
        _dump(
            {
                "directory": directory,
                "id": record["Id"],
                "pid": live["pid"],
                "cgroup": live["cgroup"],
                "binds": binds,
                "monitor": live["monitor"],
            }
        )
    except EstivaError as error:
        raise refused(record, error.message) from None


def _held(record: Record, live: RunState, group: Cgroup) -> str:
    """What its processes hold of others; "" for nothing."""
    pids = set(group.processes())
    for pid in sorted(pids - {live["pid"]}):
        try:
            parent = procinfo.parent(pid)
        except OSError:
            continue
        if parent not in pids:
            return f"process {_within(pid)} in it was begun by exec (or is a health check) and has not ended"
    if record["HostConfig"].get("Init"):
        try:
            if os.listdir(f"/proc/{live['pid']}/fd"):
                return "it is of a pool, or made ahead: its init executes commands for this program"
        except OSError:
            pass
    for table in ("tcp", "tcp6"):
        if _connected(f"/proc/{live['pid']}/net/{table}"):
            return "it has network connections open"
    return ""


def _within(pid: int) -> str:
    """A process by its pid in the container and its name."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    except OSError:
        return str(pid)
    name = "".join(letter if letter.isprintable() else "?" for letter in fields.get("Name", ""))
    return f"{fields.get('NSpid', str(pid)).split()[-1]} ({name})"


def _connected(path: str) -> bool:
    """Whether a table of TCP sockets (proc_pid_net(5)) has a connection."""
    try:
        with open(path, "rb") as file:
            lines = file.read(_LARGEST).decode("latin-1").split("\n")[1:]
    except OSError:
        return False
    return any(len(words) > 3 and words[3] not in ENDED for words in map(str.split, lines))


def _size(group: Cgroup) -> int:
    """At most so many bytes of memory are to be written."""
    total = 0
    for pid in group.processes():
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
                for line in file:
                    if line.startswith(("RssAnon:", "RssShmem:", "VmSwap:")):
                        total += int(line.split()[1]) << 10
        except OSError:
            continue
    return total


def _free(folder: str) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _dump(request: dict[str, Any]) -> None:
    """By a process of its own: this program may have more than one thread."""
    import subprocess

    from estiva.engine.monitor.protocol import decode_error

    code = (
        f"import os, sys; os.environ.pop('{interpreter.SECOND}', None); sys.path.append(sys.argv[1]); "
        "from estiva.engine.containers.snapshots import dumper; dumper.serve()"
    )
    child = subprocess.Popen(
        [
            interpreter.find(),
            "-I",
            "-S",
            "-c",
            code,
            os.path.abspath(__file__).rpartition("/estiva/engine/")[0],
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is for us: criu is to put the processes in order again
        cwd="/",
        env=interpreter.environment(),
    )
    try:
        told, _ = child.communicate(fastjson.dumps(request).encode())
    except BaseException:
        child.wait()
        raise
    if not told:
        raise EngineError("the process that was to write them down was killed")
    answer = fastjson.loads(told)
    if answer["event"] == "error":
        raise decode_error(answer)
