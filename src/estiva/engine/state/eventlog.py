"""What has happened, as `estiva events` tells it: a log of bounded size below the root (cold path).

    events.log      one JSON object a line, of Docker's shape (Engine API 1.45, EventMessage), oldest first
    events.log.1    what was before it

    {"timeNano":1,"Type":"container","Action":"start","Actor":{"ID":"...","Attributes":{"image":"..."}}}

Any process appends, each time by one write(2) with O_APPEND: no lock, and no line in another's. Who finds the
file full renames it, under its flock, so that one of several does. An event that can't be written (the disk
is full, or read-only) is counted in the run root, a byte each, and no verb fails for it.
"""

from __future__ import annotations

import fcntl
import os
import time

from estiva import fastjson
from estiva.engine.state import names
from estiva.engine.state import record as records
from estiva.errors import InvalidInput, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from estiva.engine.state.types import Ending, Event, Record, RunState, State
    from estiva.paths import Paths

    Attributes: TypeAlias = dict[str, str]

# network -> id and driver: of those that need no row. The ids are made of the names, and never change.
PREDEFINED = {
    "bridge": ("335c12d625f5859260e5bb7350d84f63fbcaffa8110b04c0cc39c9382ea3a32e", "bridge"),
    "host": ("7d3f9c254d00c4361a4cc71014b0d40ef0154f34d1edbdc0ccbbd1c816690bc4", "host"),
    "none": ("3b256c0643a12ac802518e4e1535d556bb806db22d879abe87ad7927a5261f7b", "null"),
}
LIMIT = 1 << 20  # bytes a file
LONGEST = 1 << 16  # bytes an event; of a longer one the long attributes are left out
LONG = 1 << 10
LOST_LIMIT = 1 << 20  # bytes of the file that counts


def path(paths: Paths) -> str:
    """The file that is being written; that before it is this and ".1"."""
    return paths.root + "/events.log"


def write(paths: Paths, kind: str, action: str, actor: str, attributes: Attributes | None = None) -> None:
    """Note that `action` has befallen the container, image, volume or network (`kind`) whose id (or name, as
    Docker's) is `actor`. Never raises for a disk that is full, read-only or has gone."""
    append(paths, line(kind, action, actor, attributes))


def container(paths: Paths, record: Record, action: str, **more: str) -> None:
    """The same of a container, whose name, image and labels are among the attributes."""
    append(paths, line("container", action, record["Id"], {**about(record), **more}))


def about(record: Record) -> Attributes:
    """What each event of a container says of it."""
    config = record["Config"]
    labels = config.get("Labels") or {}
    return {**labels, "image": config.get("Image") or "", "name": record["Name"].removeprefix("/")}


def about_run(paths: Paths, live: RunState) -> Attributes:
    """`about` of a container that runs, without the database."""
    name = names.linked(paths.run_root, live["name"], live["id"]) or live["name"]
    return {**live.get("about", {}), "name": name}


def known(container_id: str, text: str) -> Attributes:
    """`about` of a record as the database has it, which may be damaged."""
    try:
        return about(records.sound(container_id, text))
    except (StateError, AttributeError):
        return {}


def removed(container_id: str, about: Attributes, anonymous: list[str]) -> list[str]:
    """The lines for a container's removal, with its anonymous volumes."""
    return [
        line("container", "destroy", container_id, about),
        *(line("volume", "destroy", name, {"driver": "local"}) for name in anonymous),
    ]


def died(plan: Ending, outcome: State) -> list[str]:
    """The line for the end of a run that nobody saw; none for a step of a build."""
    if plan["ephemeral"]:
        return []
    from estiva.timestamps import seconds_of_document

    began = seconds_of_document(outcome.get("StartedAt"))
    over = seconds_of_document(outcome.get("FinishedAt")) or time.time()
    lived = str(int(max(0.0, over - began)) if began else 0)
    said = {**plan.get("about", {}), "execDuration": lived, "exitCode": str(outcome["ExitCode"])}
    return [line("container", "die", plan["id"], said)]


def network(action: str, name: str, network_id: str = "", driver: str = "", container_id: str = "") -> str:
    """The line for a network, or for a container that comes to it or leaves it; of a predefined one its name
    says all."""
    known_id, known_driver = PREDEFINED.get(name, ("", ""))
    said = {"container": container_id} if container_id else {}
    return line(
        "network", action, known_id or network_id, {**said, "name": name, "type": known_driver or driver}
    )


def line(
    kind: str, action: str, actor: str, attributes: Attributes | None = None, nanoseconds: int = 0
) -> str:
    """One event, for `append`; it happens now unless `nanoseconds` after the epoch are given."""
    event: Event = {
        "timeNano": nanoseconds or time.time_ns(),
        "Type": kind,
        "Action": action,
        "Actor": {"ID": actor, "Attributes": attributes or {}},
    }
    text = fastjson.dumps(event)
    if len(text) > LONGEST:
        event["Action"] = action[:LONG]
        event["Actor"]["Attributes"] = {
            key: value
            for key, value in list((attributes or {}).items())[-32:]
            if len(key) + len(value) < LONG
        }
        text = fastjson.dumps(event)
    return text + "\n"


def append(paths: Paths, *lines: str) -> None:
    """Write the events that `line` made, all at once."""
    data = "".join(lines).encode()
    if not data:
        return
    log = path(paths)
    try:
        fd = os.open(log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        _lose(paths, len(lines))
        return
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            data = b"\n" + data  # the disk was full in the middle of the one before, or it is on its way now
        if os.write(fd, data) < len(data):
            raise OSError
        if size + len(data) > LIMIT:
            _rotate(fd, log)
    except OSError:
        _lose(paths, len(lines))
    finally:
        os.close(fd)


def _rotate(fd: int, log: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(log)):  # else another has done it
            os.rename(log, log + ".1")
    except OSError:
        pass  # another does it now; or it can't be: the next one tries again


def _lose(paths: Paths, count: int) -> None:
    try:
        fd = os.open(_lost(paths), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        if os.fstat(fd).st_size < LOST_LIMIT:
            os.write(fd, b"." * count)
    except OSError:
        pass
    finally:
        os.close(fd)


def _lost(paths: Paths) -> str:
    return paths.run_root + "/events.lost"


def lost(paths: Paths) -> int:
    """How many events could not be written since the machine was started."""
    try:
        return os.stat(_lost(paths)).st_size
    except OSError:
        return 0


def read(paths: Paths, since: int = 0, until: int = 1 << 63) -> Iterator[Event]:
    """The events from `since` to `until`, nanoseconds after the epoch, in the order of their times."""
    found: list[Event] = []
    for name in (path(paths) + ".1", path(paths)):
        try:
            with open(name, "rb") as file:
                found += parse(file.read(LIMIT + 16 * LONGEST))
        except OSError:
            continue
    found.sort(key=moment)
    return (event for event in found if since <= event["timeNano"] <= until)


def moment(event: Event) -> int:
    return event["timeNano"]


def parse(lines: bytes) -> Iterator[Event]:
    """The events in whole lines; what is none, of a disk that was full or of whoever wrote there, is passed
    over."""
    for text in lines.split(b"\n"):
        if not text:
            continue
        try:
            event = fastjson.loads(text)
            actor = event["Actor"]
            sound = (
                type(event["timeNano"]) is int
                and type(event["Type"]) is type(event["Action"]) is type(actor["ID"]) is str
                and all(type(value) is str for value in actor["Attributes"].values())
            )
        except (InvalidInput, KeyError, TypeError, AttributeError):
            continue
        if sound:
            yield event
