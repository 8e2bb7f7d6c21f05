"""The processes of a container, with their numbers and users inside and outside."""

from __future__ import annotations

from estiva.errors import EstivaError
from estiva.runtime.cgroup import factory
from estiva.runtime.process.user import parse_passwd
from estiva.speech import say
from estiva.view.seen import TABLE, Seen, clean, whole
from estiva.view.shapes import Mapping, Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import RunState

MOST = 1000  # processes that are looked at; the others are counted
LINES = 1000  # of an id map: the kernel takes 340
USERS = 20_000  # of a passwd

STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting in the kernel",
    "Z": "zombie",
    "T": "stopped",
    "t": "traced",
    "I": "idle",
    "X": "dead",
}


class Users:
    """Names of ids on both sides."""

    def __init__(self, init: Seen) -> None:
        self.map = mappings(init, "uid_map")
        self.inside = _names(init.file("/etc/passwd"))
        try:
            with open("/etc/passwd", encoding="utf-8", errors="surrogateescape") as file:
                self.outside = _names(file.read(TABLE))
        except OSError:
            self.outside = {}

    def of(self, uid: int) -> tuple[int, str, str]:
        """(the id inside, or -1; its name inside; its name on the host); "" for one without a name."""
        inner = next(
            (m.inside + uid - m.outside for m in self.map if m.outside <= uid < m.outside + m.size), -1
        )
        return inner, self.inside.get(inner, ""), self.outside.get(uid, "")


def _names(text: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for index, (name, uid, _, _) in enumerate(parse_passwd(text)):
        if index >= USERS:
            break
        found.setdefault(uid, clean(name, 40))
    return found


def mappings(init: Seen, name: str) -> tuple[Mapping, ...]:
    """uid_map or gid_map; empty where the namespace is the machine's first."""
    found = []
    for line in init.read(name, 1 << 16).split("\n")[:LINES]:
        fields = line.split()
        if len(fields) == 3:
            found.append(Mapping(*map(int, fields)))
    return () if found == [Mapping(0, 0, 0xFFFFFFFF)] else tuple(found)


def gather(live: RunState, init: Seen) -> tuple[tuple[Process, ...], int]:
    """(what is known of each, how many there are). Raises OSError when init has ended."""
    try:
        pids = factory.open(live["cgroup"]).processes()
    except EstivaError:
        pids = [init.pid]
    users = Users(init)
    if not users.map:
        users.map = (Mapping(0, 0, 0xFFFFFFFF),)
    depth = len(init.status().get("NSpid", "").split()) - 1
    own = live["cgroup"] if _in(init.read("cgroup"), live["cgroup"]) else ""
    known = set(pids)
    found = []
    first = sorted(pids, key=lambda pid: (pid != init.pid, pid))[:MOST]
    for pid in first:
        try:
            with Seen(pid) as seen:
                if own and not _in(seen.read("cgroup"), own):
                    continue  # the number has passed to a process of somebody else's
                found.append(_process(seen, known, users, depth, init.pid))
        except OSError:
            continue  # it has ended meanwhile
    return tuple(found), len(pids)


def _in(lines: str, cgroup: str) -> bool:
    """Whether proc_pid_cgroup(5) names a cgroup, or one below it."""
    paths = [line.split(":", 2)[-1] for line in lines.split("\n")]
    return any(path == cgroup or path.startswith(cgroup + "/") for path in paths)


def _process(seen: Seen, known: set[int], users: Users, depth: int, init: int) -> Process:
    status = seen.status()
    numbers = status.get("NSpid", "").split()
    parent = whole(status.get("PPid", ""))
    uid = int(status.get("Uid", "0").split()[1])
    inner, name, outer = users.of(uid)
    arguments = seen.read("cmdline").rstrip("\0").replace("\0", " ")
    letter = status.get("State", "?")[:1]
    return Process(
        pid=seen.pid,
        inside=int(numbers[depth]) if len(numbers) > depth >= 0 else 0,
        parent=parent if parent in known and seen.pid != init else 0,
        origin="init" if seen.pid == init else "child" if parent in known else "exec",
        command=clean(arguments) if arguments else f"[{clean(status.get('Name', ''), 64)}]",
        state=say(STATES.get(letter, letter)),
        uid=uid,
        user=outer,
        uid_inside=inner,
        user_inside=name,
        memory=whole(status.get("VmRSS", "")) << 10,
        threads=whole(status.get("Threads", "")),
    )
