"""`kill`, `delete`, `pause` and `resume` of estiva-oci."""

from __future__ import annotations

from estiva.cmdline.parser import FLAG, Options, Verb
from estiva.errors import Conflict, NotFound, Unsupported
from estiva.linux import signals
from estiva.runtime.lifecycle import containers, operations, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.ocicli.main import Context
    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.lifecycle.containers import Container


def kill(context: Context, options: Options) -> int:
    made = containers.load(context.root, options.arguments[0])
    word = options.arguments[1] if len(options.arguments) > 1 else "TERM"
    number = 0 if word == "0" else signals.number(word)  # 0 only asks whether it is there: kill(2)
    if options.flag("all"):
        processes.signal_all(made, number)
        return 0
    if number == 9:
        processes.kill(made)
    else:
        made.signal(number)
    return 0


def delete(context: Context, options: Options) -> int:
    force = options.flag("force")
    try:
        made = containers.load(context.root, options.arguments[0])
    except NotFound:
        if not force:
            raise
        containers.sweep_half_made(context.root, options.arguments[0])
        try:
            made = containers.load(context.root, options.arguments[0])  # its maker got done meanwhile
        except NotFound:
            return 0
    context.warn(operations.delete(made, force=force))
    return 0


def _group(made: Container, *allowed: str) -> Cgroup:
    status = made.status()
    if status not in allowed:
        raise Conflict(
            f"container not running or created: {made.id} is {status}"
            if "running" in allowed
            else f"container not paused: {made.id} is {status}"
        )
    group = made.cgroup
    if group is None:
        raise Unsupported(f"container {made.id} has no cgroup")
    return group


def pause(context: Context, options: Options) -> int:
    _group(containers.load(context.root, options.arguments[0]), "running", "created").freeze()
    return 0


def resume(context: Context, options: Options) -> int:
    _group(containers.load(context.root, options.arguments[0]), "paused").thaw()
    return 0


KILL = Verb(
    kill,
    "ID [SIGNAL]",
    "Send a signal to init (default TERM)",
    (("a", "all", FLAG, "", "send it to every process of the container"),),
    least=1,
    most=2,
)
DELETE = Verb(
    delete,
    "ID",
    "Take away a stopped container",
    (("f", "force", FLAG, "", "kill it first if it is not stopped; fine if there is none"),),
    least=1,
    most=1,
)
PAUSE = Verb(pause, "ID", "Freeze every process of a container", (), least=1, most=1)
RESUME = Verb(resume, "ID", "Let a paused container go on", (), least=1, most=1)
