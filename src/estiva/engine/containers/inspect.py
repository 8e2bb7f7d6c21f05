"""What is asked of one container: inspect, top, port."""

from __future__ import annotations

import os

from estiva.engine.state import eventlog
from estiva.engine.state.lookup import resolve, running_state
from estiva.errors import EngineError, InvalidInput
from estiva.runtime.cgroup import factory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import Record


def inspect(engine: Engine, ref: str) -> Record:
    """All that is known of a container, in Docker's shape."""
    record = resolve(engine, ref)
    directory = engine.paths.container(record["Id"])
    from estiva.engine.state.net import endpoint_shape
    from estiva.engine.state.record import complete

    record.setdefault("Driver", "overlay2")
    made = f"{directory}/%s" if record["State"]["Status"] != "created" else ""
    record["LogPath"] = made and made % "log.json"
    record["HostnamePath"] = made and made % "hostname"
    record["HostsPath"] = made and made % "hosts"
    record["ResolvConfPath"] = made and made % "resolv.conf"
    from estiva.engine.containers.listing import add_networks
    from estiva.network import networks
    from estiva.network.ipam import DEFAULT_NETWORK
    from estiva.store import containers

    belongings = networks.belongings(engine.db, record["Id"])
    if belongings:
        add_networks(record, belongings)
        links = belongings.get(DEFAULT_NETWORK, {}).get("Links") or ()
        if links:
            named = [(containers.name(engine.db, linked) or linked[:12], alias) for linked, alias in links]
            record["HostConfig"]["Links"] = [f"/{name}:{record['Name']}/{alias}" for name, alias in named]
    complete(record)
    state = record["State"]
    if "Exit" in state and not state["Running"] and not state["Exit"].get("Failed"):
        from estiva.engine.containers import logs

        state["Exit"]["LastLog"] = logs.last_lines(engine, record["Id"])
    endpoint_shape.complete(record)
    bridge = record["NetworkSettings"]["Networks"].get("bridge")
    if bridge:
        record["NetworkSettings"]["EndpointID"] = bridge["EndpointID"]
    tmpfs = record["HostConfig"].get("Tmpfs") or {}  # shown there, and only --mount's among the Mounts
    record["Mounts"] = [mount for mount in record["Mounts"] if mount["Destination"] not in tmpfs]
    if record["State"]["Running"]:
        from estiva.engine.containers.execs import kept

        record["ExecIDs"] = kept.unfinished(engine, record["Id"]) or None  # type: ignore[typeddict-unknown-key]
    pid = record["State"]["Pid"]
    if pid:
        record["NetworkSettings"].update(SandboxID=record["Id"], SandboxKey=f"/proc/{pid}/ns/net")
    record["GraphDriver"] = {
        "Name": "overlay2",
        "Data": {
            "LowerDir": _lowerdirs(engine, record),
            "MergedDir": f"/proc/{pid}/root" if pid else "",  # mounted in its own namespace, nowhere else
            "UpperDir": directory + "/upper",
            "WorkDir": directory + "/work",
        },
    }
    return record


def asked_mac(engine: Engine, record: Record) -> str:
    """The MAC address that was asked for on the network of its NetworkMode; "" for none."""
    from estiva.network import networks

    mode = record["HostConfig"]["NetworkMode"]
    for network_id, wished in networks.belongings(engine.db, record["Id"]).items():
        if mode in (network_id, wished.get("Name") or "bridge"):
            return wished.get("MacAddress") or ""
    return ""


def _lowerdirs(engine: Engine, record: Record) -> str:
    image = engine.store.images.find(record["Image"]) if record["Image"] else None  # an adopted one's is lost
    if image is None:
        return ""
    return ":".join(engine.store.layers.mounts.places([*image.diff_ids, *(record.get("States") or ())]))


QUICK = 1000  # processes that ps is asked for by their pids: it takes them in one word


def top(engine: Engine, ref: str, args: list[str]) -> tuple[list[str], list[list[str]]]:
    """(titles, rows) of the container's processes, as ps on the host shows them. Raises InvalidInput."""
    import subprocess

    from estiva import programs

    live = running_state(engine, ref)
    about = eventlog.about_run(engine.paths, live)
    eventlog.write(engine.paths, "container", "top", live["id"], about)
    pids = factory.open(live["cgroup"]).processes()
    # only the host's ps, only on these pids, never through a shell
    program = programs.find("ps")
    if not program:
        raise EngineError("ps is not installed", hint="install the package procps")
    command = [program, *(args or ["-ef"])]
    wide = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "PS_FORMAT")}
    # ps looks at those alone where it can: options that sort or choose forbid it, and then it looks at all
    quick = [f"-q{','.join(map(str, sorted(pids)))}"] if 0 < len(pids) <= QUICK else []
    for more in [quick, []] if quick else [[]]:
        shown = subprocess.run(
            [*command, *more], capture_output=True, text=True, errors="replace", check=False, env=wide
        )
        if shown.returncode == 0:
            break
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
    """[("80/tcp", "0.0.0.0:8080")] of a running container, by port."""
    table = resolve(engine, ref)["NetworkSettings"].get("Ports") or {}
    keys = sorted(table, key=lambda key: (int(key.partition("/")[0]), key))
    return [
        (key, f"{_host(binding['HostIp'])}:{binding['HostPort']}")
        for key in keys
        for binding in table[key] or ()
    ]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
