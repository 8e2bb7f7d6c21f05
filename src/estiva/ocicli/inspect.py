"""`state`, `list` and `ps` of estiva-oci."""

from __future__ import annotations

import os

from estiva.cmdline.parser import FLAG, TEXT, Options, UsageError, Verb
from estiva.errors import EngineError, NotFound
from estiva.ocicli import output
from estiva.runtime.lifecycle import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.ocicli.main import Context
    from estiva.runtime.lifecycle.containers import Container


def _described(made: Container) -> dict[str, Any]:
    """What runc tells of a container beside the runtime-spec's fields."""
    state = made.oci_state()
    told = {key: state[key] for key in ("ociVersion", "id", "pid", "status", "bundle")}  # runc's order
    annotations = state["annotations"]
    owner = made.record["owner"]
    told["rootfs"] = made.record["rootfs"]
    told["created"] = output.timestamp(made.record["created"])
    if annotations:
        told["annotations"] = annotations
    told["owner"] = _user(owner)
    return told


def _user(uid: int) -> str:
    if uid == 0:
        return "root"
    from pwd import getpwuid

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def state(context: Context, options: Options) -> int:
    told = _described(containers.load(context.root, options.arguments[0]))
    told["owner"] = "" if told["owner"] == "root" else told["owner"]
    print(output.pretty(told))
    return 0


def listing(context: Context, options: Options) -> int:
    form = options.text("format", "table")
    if form not in ("table", "json"):
        raise UsageError(f"invalid format option: {form}", hint="table or json")
    if context.root_given and not os.path.isdir(context.root):
        raise NotFound(f"--root {context.root}: no such file or directory")
    found = containers.everything(context.root)
    if options.flag("quiet"):
        for made in found:
            print(made.id)
        return 0
    told = [_described(made) for made in found]
    if form == "json":
        from estiva import fastjson

        print(fastjson.dumps(told))
        return 0
    keys = ("id", "pid", "status", "bundle", "created", "owner")
    print(output.table([[key.upper() for key in keys], *[[str(one[key]) for key in keys] for one in told]]))
    return 0


def ps(context: Context, options: Options) -> int:
    form = options.text("format", "table")
    if form not in ("table", "json"):
        raise UsageError(f"invalid format option: {form}", hint="table or json")
    made = containers.load(context.root, options.arguments[0])
    group = made.cgroup
    pids = sorted(group.processes()) if group is not None else [made.pid] if made.alive else []
    if form == "json":
        from estiva import fastjson

        print(fastjson.dumps(pids))
        return 0
    import subprocess

    from estiva import programs

    program = programs.find("ps")
    if not program:
        raise EngineError("ps is not installed", hint="--format json lists the pids without it")
    words = [program, *(options.arguments[1:] or ["-ef"])]
    ran = subprocess.run(words, capture_output=True, text=True, errors="replace")
    if ran.returncode:
        raise EngineError(f"ps: {ran.stderr.strip()}")
    lines = ran.stdout.splitlines()
    column = lines[0].split().index("PID") if lines and "PID" in lines[0].split() else -1
    if column < 0:
        raise EngineError("ps: its output has no PID column")
    wanted = {str(pid) for pid in pids}
    print(lines[0])
    for line in lines[1:]:
        fields = line.split()
        if len(fields) > column and fields[column] in wanted:
            print(line)
    return 0


STATE = Verb(state, "ID", "Print the state of a container as JSON", (), least=1, most=1)
LIST = Verb(
    listing,
    "",
    "List containers",
    (
        ("f", "format", TEXT, "FORMAT", "table or json"),
        ("q", "quiet", FLAG, "", "only ids"),
    ),
    most=0,
)
PS = Verb(
    ps,
    "ID [ps options]",
    "List the processes of a container",
    (("f", "format", TEXT, "FORMAT", "table or json"),),
    least=1,
    interspersed=False,
)
