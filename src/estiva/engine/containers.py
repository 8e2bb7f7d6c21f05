"""The containers that exist: found, listed, inspected, renamed. What ends or halts them is in control.py."""

from __future__ import annotations

import time

from estiva import fastjson
from estiva.engine import life
from estiva.engine.clock import ZERO
from estiva.errors import Conflict, InvalidInput, NotFound
from estiva.runtime import state
from estiva.runtime.cgroup import Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine

LOOK_AGAIN = 0.005  # seconds between looks at a container that is on its way from one state to another
HEX = frozenset("0123456789abcdef")
ROWS = "SELECT id, status, record FROM containers"


def resolve(engine: Engine, ref: str) -> dict[str, Any]:
    """The record of a container by name, id or the beginning of its id, settled if its monitor was killed.

    Raises NotFound, or InvalidInput when the beginning fits several.
    """
    name = ref.removeprefix("/")
    rows = engine.db.read(f"{ROWS} WHERE name = ? OR id = ? ORDER BY id = ? DESC", (name, name, name))
    if not rows and name and HEX.issuperset(name):
        rows = engine.db.read(f"{ROWS} WHERE id >= ? AND id < ? LIMIT 2", (name, name + "g"))
        if len(rows) > 1:
            raise InvalidInput(f"{ref} is the beginning of several container ids", hint="give more of the id")
    container_id, status, text = settled(engine, *rows[0]) if rows else ("", "", "")
    if not status:
        raise NotFound(f"no such container: {ref}", hint="`estiva ps -a` lists them all")
    return load(engine, container_id, status, text)


def settled(engine: Engine, container_id: str, status: str, text: str) -> tuple[str, str, str]:
    """A row, its container ended first if the monitor was killed; the status is "" if that removed it."""
    if status == "running" and life.dead(engine.paths, engine.db, container_id):
        rows = engine.db.read("SELECT status, record FROM containers WHERE id = ?", (container_id,))
        status, text = rows[0] if rows else ("", "")
        if status == "running" and not life.held(engine.paths, container_id):
            status = "dead"
    return container_id, status, text


def load(engine: Engine, container_id: str, status: str, text: str) -> dict[str, Any]:
    """A record with its live State filled in."""
    record: dict[str, Any] = fastjson.stored(text, what=f"the record of container {container_id[:12]}")
    live = state.read(engine.paths.run_container(container_id)) if status == "running" else None
    paused = bool(live and live.get("paused"))
    record["State"] = {
        "Status": "paused" if paused else status,
        "Running": status == "running",
        "Paused": paused,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": live["pid"] if live else 0,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": ZERO,
        "FinishedAt": ZERO,
        **({"StartedAt": live["started"]} if live else record["State"]),
    }
    if live and live.get("network"):
        record["NetworkSettings"] = network_settings(live["network"])
    return record


def network_settings(network: dict[str, Any]) -> dict[str, Any]:
    from estiva.engine.ports import docker_shape

    endpoint = {
        "IPAddress": network["address"],
        "IPPrefixLen": network["prefix"],
        "Gateway": network["gateway"],
        "MacAddress": network["mac"],
    }
    return {"Ports": docker_shape(network["ports"]), "Networks": {"bridge": endpoint}, **endpoint}


def is_alive(engine: Engine, container_id: str) -> bool:
    """Whether the container runs now."""
    return life.held(engine.paths, container_id)


def running_state(engine: Engine, ref: str) -> dict[str, Any]:
    """The run state (pid and so on) of a running container. Raises NotFound, Conflict."""
    while (record := resolve(engine, ref))["State"]["Running"]:
        live = state.read(engine.paths.run_container(record["Id"]))
        if live is not None:
            return live
        time.sleep(LOOK_AGAIN)  # it is being started
    raise Conflict(f"container {ref} is not running", hint=f"`estiva start {ref}` starts it")


def inspect(engine: Engine, ref: str) -> dict[str, Any]:
    """All that is known of a container, in Docker's shape."""
    record = resolve(engine, ref)
    directory = engine.paths.container(record["Id"])
    from estiva.engine.record import complete

    record.setdefault("Driver", "overlay2")
    record["LogPath"] = directory + "/log.json"
    record["HostnamePath"] = directory + "/hostname"
    record["HostsPath"] = directory + "/hosts"
    record["ResolvConfPath"] = directory + "/resolv.conf"
    complete(record)
    record["GraphDriver"] = {
        "Name": "overlay2",
        "Data": {"UpperDir": directory + "/upper", "WorkDir": directory + "/work"},
    }
    return record


def listing(
    engine: Engine, *, all: bool = False, filters: dict[str, list[str]] | None = None
) -> list[dict[str, Any]]:
    """The rows of `ps`, newest first. `filters`: id, name, label, status, ancestor, exited, volume,
    network.
    """
    rows = []
    for row in engine.db.read(f"{ROWS} ORDER BY created DESC"):
        container_id, status, text = settled(engine, *row)
        if not status:
            continue
        record = load(engine, container_id, status, text)
        if not all and not record["State"]["Running"] and "status" not in (filters or {}):
            continue
        if matches(record, filters or {}):
            rows.append(record)
    return rows


def matches(record: dict[str, Any], filters: dict[str, list[str]]) -> bool:
    labels = record["Config"].get("Labels") or {}
    for key, values in filters.items():
        if key == "id":
            fits = any(record["Id"].startswith(value) for value in values)
        elif key == "name":
            fits = any(value.removeprefix("/") in record["Name"] for value in values)
        elif key == "status":
            fits = record["State"]["Status"] in values
        elif key == "label":
            pairs = [value.partition("=") for value in values]
            fits = all(k in labels and (not sep or labels[k] == v) for k, sep, v in pairs)
        elif key == "ancestor":
            image = record["Config"]["Image"]
            digest = record["Image"].partition(":")[2]
            fits = any(
                value in (image, record["Image"]) or image == f"{value}:latest" or digest.startswith(value)
                for value in values
            )
        elif key == "exited":
            fits = not record["State"]["Running"] and str(record["State"]["ExitCode"]) in values
        elif key == "volume":
            fits = any(
                v in (m.get("Name"), m["Source"], m["Destination"]) for m in record["Mounts"] for v in values
            )
        elif key == "network":
            fits = record["HostConfig"]["NetworkMode"] in values
        else:
            raise InvalidInput(
                f"invalid filter: {key}", hint="id, name, label, status, ancestor, exited, volume"
            )
        if not fits:
            return False
    return True


def resolve_if_there(engine: Engine, container_id: str) -> dict[str, Any] | None:
    try:
        return resolve(engine, container_id)
    except NotFound:
        return None


def rename(engine: Engine, ref: str, name: str) -> None:
    """Give a container another name. Raises Conflict when it is taken."""
    from estiva.engine import names

    record = resolve(engine, ref)
    new = names.check(name)
    with engine.db.write() as transaction:
        taken = transaction.execute("SELECT id FROM containers WHERE name = ?", (new,)).fetchone()
        if taken:
            raise Conflict(f'the name "{new}" is in use by container {taken[0][:12]}')
        text = transaction.execute("SELECT record FROM containers WHERE id = ?", (record["Id"],)).fetchone()
        if text is None:
            raise NotFound(f"no such container: {ref}")
        stored = fastjson.loads(text[0])
        old = stored["Name"].removeprefix("/")
        stored["Name"] = "/" + new
        transaction.execute(
            "UPDATE containers SET name = ?, record = ? WHERE id = ?",
            (new, fastjson.dumps(stored), record["Id"]),
        )
    if record["State"]["Running"]:
        life.unlink_name(engine.paths.run_root, old, record["Id"])
        life.link_name(engine.paths.run_root, new, record["Id"])


def top(engine: Engine, ref: str, args: list[str]) -> tuple[list[str], list[list[str]]]:
    """(titles, rows) of the container's processes, as ps on the host shows them. Raises InvalidInput."""
    import subprocess

    live = running_state(engine, ref)
    pids = Cgroup.open(live["cgroup"]).processes()
    # only the host's ps, only on these pids, never through a shell
    command = ["ps", *(args or ["-ef"])]
    shown = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    lines = shown.stdout.splitlines()
    if shown.returncode != 0 or not lines or "PID" not in lines[0].split():
        raise InvalidInput(
            f"ps {' '.join(args)} shows no PID column", hint="give ps options such as -ef or aux"
        )
    titles = lines[0].split()
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    rows = [line.split(None, len(titles) - 1) for line in lines[1:]]
    return titles, [row for row in rows if len(row) > column and row[column] in wanted]


def port(engine: Engine, ref: str) -> list[tuple[str, str]]:
    """[("80/tcp", "0.0.0.0:8080")] of a running container."""
    record = resolve(engine, ref)
    return [
        (key, f"{binding['HostIp']}:{binding['HostPort']}")
        for key, bindings in (record["NetworkSettings"].get("Ports") or {}).items()
        for binding in bindings
    ]


def __getattr__(name: str) -> Any:
    """The verbs of engine/filesystem.py and engine/sweeping.py, which a `ps` or `stop` need not load."""
    if name in ("commit", "diff", "export"):
        from estiva.engine import filesystem

        return getattr(filesystem, name)
    if name in ("sweep", "check", "prune"):
        from estiva.engine import sweeping

        return getattr(sweeping, name)
    raise AttributeError(name)
