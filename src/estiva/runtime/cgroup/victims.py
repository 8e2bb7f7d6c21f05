"""Which processes a cgroup had when its memory ran out: by the kernel's log, which tells the sizes of all of
them with each kill (sysctl vm.oom_dump_tasks; Documentation/ABI/testing/dev-kmsg). Nothing else knows them
afterwards.

Who may not read the log, or comes after it has gone round, hears nothing. The kernel tells ten kills in five
seconds at most.
"""

from __future__ import annotations

import os

from estiva.errors import oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    class Victim(TypedDict):
        """A process, by its pid on the host and its memory in bytes."""

        Pid: int
        Name: str
        Memory: int


LOG = "/dev/kmsg"
RECORDS = 100_000  # that are read at most
TASKS = 20_000
_LINE = 8192  # bytes of a record: PRINTKRB_RECORD_MAX and its head


def largest(path: str, most: int = 5) -> list[Victim]:
    """The largest processes of the cgroup `path` at its last kill, the largest first; of a kill for want of
    memory on the whole machine only the one that was killed."""
    try:
        fd = os.open(LOG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        found = _Reader(path)
        for _ in range(RECORDS):
            try:
                record = os.read(fd, _LINE)
            except BrokenPipeError:
                continue  # this one has been overwritten
            except OSError:
                break  # BlockingIOError: that was the last one
            head, _, text = record.partition(b";")
            if int(head.partition(b",")[0] or b"8") < 8:  # the kernel's own: others may write to the log too
                found.line(text.partition(b"\n")[0].decode("utf-8", "replace"))
    except ValueError:
        return []
    finally:
        os.close(fd)
    living = [task for task in found.victims if task["Memory"]]
    return sorted(living, key=lambda one: -one["Memory"])[:most]


class _Reader:
    """Line after line; `victims` are those of the last kill in the cgroup."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.columns: list[str] = []
        self.tasks: list[Victim] = []
        self.victims: list[Victim] = []

    def line(self, text: str) -> None:
        if text.startswith("Tasks state"):
            self.columns, self.tasks = [], []
        elif text.startswith("["):
            self._task(text)
        elif text.startswith("oom-kill:"):
            self._kill(text)

    def _task(self, text: str) -> None:
        """A row of the table, whose head comes first; its last column, the name, may hold anything."""
        first, _, rest = text[1:].partition("]")
        if first.strip() == "pid":
            self.columns = ["pid", *rest.split()]
            return
        fields = [first.strip(), *rest.split(None, max(0, len(self.columns) - 2))]
        if len(fields) != len(self.columns) or len(self.tasks) >= TASKS:
            return
        row = dict(zip(self.columns, fields, strict=True))
        pid, pages = row["pid"], row.get("rss", "")
        if pid.isdigit() and pages.isdigit() and len(pages) < 16:
            size = int(pages) * os.sysconf("SC_PAGE_SIZE")
            self.tasks.append({"Pid": int(pid), "Name": oneline(row.get("name", ""))[:64], "Memory": size})

    def _kill(self, text: str) -> None:
        """What was killed, and where: its name may hold anything, so look from both ends."""
        where = text.partition(",task_memcg=")[2].partition(",task=")[0]
        if where != self.path and not where.startswith(self.path + "/"):
            return
        pid = text.rpartition(",pid=")[2].partition(",")[0]
        own = "CONSTRAINT_MEMCG" in text.partition(",")[0]
        self.victims = [task for task in self.tasks if own or str(task["Pid"]) == pid]
