"""`exec`: one more process in a running container.

The container is found by run/names and run/containers alone, without the database. The command line is itself
the parent of the process (`session`); a program with threads has the spawner fork one (`launch`). Both copy
the streams through pipes: no fd of the caller's enters the container.
"""

from __future__ import annotations

import os

from estiva.engine.monitor.exec_session import Session, become
from estiva.engine.state import eventlog, locks, runstate
from estiva.engine.state.record import merge_env
from estiva.errors import Conflict, InvalidInput
from estiva.runtime.security import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.engine import Engine
    from estiva.engine.launch.launch import Launched
    from estiva.engine.state.types import OCI, ExecPlan, RunState


def running(engine: Engine, ref: str) -> RunState:
    """The run state of a running container, by name, id or its beginning. Raises NotFound, Conflict."""
    paths = engine.paths
    found = None
    if "/" not in ref and ref not in (".", ".."):
        try:
            found = runstate.read(paths, os.readlink(f"{paths.run_names}/{ref}"))
        except OSError:
            if len(ref) == 64:
                found = runstate.read(paths, ref)
    if found is None or not locks.held(paths, found["id"]):
        from estiva.engine.state import lookup

        record = lookup.resolve(engine, ref)
        lookup.refuse_restarting(record)
        found = runstate.read(paths, record["Id"])
        if found is None or not locks.held(paths, record["Id"]):
            raise Conflict(f"container {ref} is not running", hint=f"`estiva start {ref}` starts it")
    if found.get("paused"):
        raise Conflict(f"container {ref} is paused", hint=f"`estiva unpause {ref}` lets it go on")
    return found


def make_process(
    target: RunState,
    argv: list[str],
    env: list[str],
    user: str,
    workdir: str,
    tty: bool,
    privileged: bool,
) -> OCI:
    """The OCI process of an exec: the container's own with what was asked changed."""
    if not argv:
        raise InvalidInput("exec needs a command", hint="estiva exec CONTAINER COMMAND [ARG...]")
    process: OCI = dict(target["process"])
    variables = list(process["env"])
    if target["process"]["terminal"] and not tty:
        variables = [v for v in variables if v != "TERM=xterm"]  # which it has of its terminal
    if user:
        process["user"] = {"username": user}
        variables = [v for v in variables if not v.startswith("HOME=")]
    process.update(
        args=argv, terminal=tty, env=merge_env([*(["TERM=xterm"] if tty else []), *variables], env)
    )
    process.pop("consoleSize", None)
    if workdir:
        if not workdir.startswith("/"):
            raise InvalidInput(f"the working directory {workdir} must be absolute")
        process["cwd"] = workdir
    if privileged:
        everything = capabilities.capabilities([], [], True)
        process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), everything)
    return process


def plan(
    engine: Engine,
    ref: str,
    argv: list[str],
    *,
    env: list[str],
    user: str = "",
    workdir: str = "",
    tty: bool = False,
    stdin: bool = False,
    privileged: bool = False,
    bound: bool = False,
) -> ExecPlan:
    """All that the parent of the process needs, as JSON-able data. A `bound` one ends with its caller."""
    target = running(engine, ref)
    if privileged and target.get("profile"):
        raise Conflict(f"exec --privileged can't be used with --profile {target['profile']}")
    process = make_process(target, argv, env, user, workdir, tty, privileged)
    result: ExecPlan = {
        "pid": target["pid"],
        "start_time": target["start_time"],
        "id": target["id"],
        "cgroup": target["cgroup"],
        "run": engine.paths.run_container(target["id"]),
        "config": {"process": process},
        "seccomp": None if privileged else target["seccomp"],
        "cache": engine.paths.cache,
        "stdin": stdin,
        "root": target.get("root"),
        "events": {
            "root": engine.paths.root,
            "run_root": engine.paths.run_root,
            "about": {**eventlog.about_run(engine.paths, target), "execID": os.urandom(32).hex()},
        },
    }
    if bound:
        result["bound"] = True
    if target.get("limits"):
        result["limits"] = {"output": target["limits"].get("output", 0)}
    return result


def session(engine: Engine, wanted: ExecPlan, stdio: tuple[int, int, int]) -> Session:
    """An exec of which this process, which has one thread, is the parent: to be started by the caller."""
    seal(engine, wanted)
    return Session(wanted, stdio)


def seal(engine: Engine, wanted: ExecPlan) -> None:
    """Where the process may trace ours, go on from a copy of the interpreter that it can't write to (K4)."""
    bounding = (wanted["config"]["process"].get("capabilities") or {}).get("bounding") or ()
    if engine.direct and "CAP_SYS_PTRACE" in bounding:
        from estiva.runtime.launch import sealed_exe

        sealed_exe.ensure()


def launch(
    engine: Engine, wanted: ExecPlan, stdio: tuple[int, int, int], guests: Sequence[int] = ()
) -> Launched:
    """Have another process be the parent, a fork of ours or of the spawner: `Launched.started` waits for
    it. `guests` are sockets of who is attached to one that is kept.
    """
    from estiva.engine.launch.launch import Launched
    from estiva.engine.monitor.protocol import pair, single_threaded

    if engine.direct and single_threaded():
        ours, theirs = pair()
        if os.fork() == 0:
            from estiva.linux import process

            process.set_title("estiva: exec", wipe=False)
            ours.close()
            os.setsid()
            become(wanted, theirs, stdio, guests=guests)
        theirs.close()
    else:
        from estiva.engine.launch import spawner

        ours = spawner.ask({"kind": "exec", "plan": wanted}, [-1, *stdio, *guests])
    launched = Launched(ours)
    if not engine.direct:
        from estiva.engine.launch import forks

        forks.channels.add(launched)
    return launched
