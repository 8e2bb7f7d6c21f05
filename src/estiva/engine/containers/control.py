"""The verbs that end, halt and remove containers: stop, kill, wait, remove, pause, unpause, restart.

What may have to wait is a task (containers/tasks.py), to be done for many containers at once: stopping,
killing, removing, restarting. Others may start the container again meanwhile. So what is meant for one run
goes by its run state, as it was read at first: nothing that is said or done here is about a later run.
"""

from __future__ import annotations

import _signal
import os
import time

from estiva import fastjson
from estiva.engine.containers import tasks
from estiva.engine.state import eventlog, gate, locks, runstate, teardown
from estiva.engine.state import names as naming
from estiva.engine.state.life import halted, restarts, sender
from estiva.engine.state.lookup import (
    LONG,
    appearing,
    find_damaged,
    resolve,
    resolve_if_there,
    running_state_now,
)
from estiva.errors import Conflict, EngineError, EstivaError, InvalidInput, NameTaken, NotFound, StateError
from estiva.files import Lock
from estiva.linux import signals
from estiva.runtime import state
from estiva.runtime.cgroup import factory
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import TypeAlias

    from estiva.engine import Engine
    from estiva.engine.state.types import Record, RunState

    Task: TypeAlias = Generator[None, None, None]


STOP_TIMEOUT = 10  # seconds, as Docker
UNKILLABLE = 10  # seconds
STOPPED = 1  # second that is waited for a monitor that is stopped


def kill(engine: Engine, ref: str, signal: str = "KILL") -> None:
    """Send a signal to the main process; SIGKILL and return once the container has ended.

    Raises Conflict when it isn't running, EngineError when SIGKILL does not end it.
    """
    tasks.run(killing(engine, ref, signal))


def killing(engine: Engine, ref: str, signal: str = "KILL") -> Task:
    """`kill` as a task."""
    number = signals.number(signal)
    own = resolve(engine, ref)["Config"].get("StopSignal") or "TERM"
    live: RunState | None
    if number in (_signal.SIGKILL, signals.number(own)):
        live = yield from meaning(engine, ref)
        if live is None:
            return
    else:
        live = yield from appearing(engine, ref)
    send(engine, live, number, "kill")
    if number == _signal.SIGKILL or live.get("paused"):
        thaw(engine, live)
    if number == _signal.SIGKILL:
        yield from ending(engine, ref, live)
        yield from ending_wait(engine, live["id"])


def meaning(engine: Engine, ref: str) -> Generator[None, None, RunState | None]:
    """The run that is on, which its restart policy is not to follow by another: somebody means it to end.
    None if the container waited for another, which it does no more. Raises Conflict when it does not run.
    """
    looked = time.monotonic()
    while True:
        live = running_state_now(engine, ref, strict=False)
        if live is not None:
            if restarts.mark_stopped(engine.paths, live["id"], live):
                return live
        elif (record := resolve_if_there(engine, ref)) is not None and record["State"]["Restarting"]:
            restarts.mark_stopped(engine.paths, record["Id"], None)
            yield from ending_wait(engine, record["Id"])
            return None
        yield
        if time.monotonic() > looked + LONG:
            from estiva.engine.state import starters

            starters.refuse(engine.paths, resolve(engine, ref)["Id"])
            looked = time.monotonic()


def send(engine: Engine, live: RunState, number: int, verb: str) -> None:
    """Signal a container's init for a `verb`, and note that."""
    sender.note(engine.paths, live, number, verb)
    said(engine, live, "kill", signal=str(number))
    runstate.send(live, number)


def said(engine: Engine, live: RunState, action: str, **more: str) -> None:
    """Note what has been done to a container that runs."""
    about = eventlog.about_run(engine.paths, live)
    eventlog.write(engine.paths, "container", action, live["id"], {**about, **more})


def ending(engine: Engine, ref: str, live: RunState, *, force: bool = False) -> Task:
    """Wait for the end of a run whose main process has ended or got SIGKILL. A monitor that is stopped is let
    go on; with `force` it is killed. Raises EngineError.
    """
    began = time.monotonic()
    woken = False
    while locks.runs(engine.paths, live):
        waited = time.monotonic() - began
        if waited > STOPPED:
            alive = state.alive(live["pid"], live["start_time"])
            if alive and waited > UNKILLABLE:
                raise EngineError(
                    f"container {ref} was killed and has not ended in {UNKILLABLE} s",
                    hint="its main process waits in the kernel, for a disk or network that does not answer",
                )
            monitor = 0 if alive else runstate.stopped_monitor(live)
            if monitor and not force:
                if waited > UNKILLABLE:
                    raise EngineError(
                        f"container {ref} has ended, but its monitor, process {monitor}, is stopped",
                        hint=f"it may be traced; `estiva rm -f {ref}` removes the container",
                    )
                if not woken:
                    halted.wake(live)
                    woken = True
            elif monitor:
                runstate.end_stopped_monitor(live)
        yield
    resolve_if_there(engine, live["id"])  # settles it if its monitor was killed too


def ending_wait(engine: Engine, container_id: str) -> Task:
    """A container that waits to be started again, and is not to be, has ended; nothing of others."""
    while (now := resolve_if_there(engine, container_id)) is not None and now["State"]["Restarting"]:
        restarts.end_waiter(engine.paths, container_id)
        yield


def thaw(engine: Engine, live: RunState) -> None:
    """What is frozen can't die: not by `pause` only, but also by a commit that was killed."""
    if live.get("paused"):
        mark(engine, live, False)
    cgroup = factory.open(live["cgroup"])
    if not cgroup.frozen():
        return
    try:
        cgroup.thaw()
    except EstivaError:
        if cgroup.exists():
            raise  # else it has ended by itself meanwhile


def mark(engine: Engine, live: RunState, paused: bool) -> None:
    """Write into the run state whether it is paused; nothing if the run is over, and its folder gone."""
    try:
        folder = os.open(engine.paths.run_container(live["id"]), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        # by the fd, since a later run has another folder of the same name
        here = f"/proc/self/fd/{folder}"
        with Lock(runstate.writing(here)):
            now = runstate.read_in(here)
            if now is not None and runstate.same(now, live):
                runstate.write(here, {**now, "paused": paused})
    except FileNotFoundError:
        pass
    finally:
        os.close(folder)


def stop(engine: Engine, ref: str, *, timeout: int | None = None, signal: str | None = None) -> None:
    """Ask the main process to end, kill it after `timeout` seconds (negative: never). Fine if it doesn't
    run. Raises NotFound, EngineError when SIGKILL does not end it.
    """
    tasks.run(stopping(engine, ref, timeout=timeout, signal=signal))


def stopping(
    engine: Engine, ref: str, *, timeout: int | None = None, signal: str | None = None, verb: str = "stop"
) -> Task:
    """`stop` as a task."""
    record = resolve(engine, ref)
    try:
        live = yield from meaning(engine, record["Id"])
    except (Conflict, NotFound):
        return  # it does not run, or has ended meanwhile
    if live is None:
        return
    if verb == "restart":
        restarts.mark_kept(engine.paths, live["id"], live)
    config = record["Config"]
    number = signals.number(signal or config.get("StopSignal") or "TERM")
    if timeout is None:
        timeout = config.get("StopTimeout")
    if timeout is None:
        timeout = STOP_TIMEOUT
    thaw(engine, live)
    send(engine, live, number, verb)
    deadline = time.monotonic() + timeout
    while locks.runs(engine.paths, live) and state.alive(live["pid"], live["start_time"]):
        if timeout >= 0 and time.monotonic() >= deadline:
            send(engine, live, _signal.SIGKILL, verb)
            break
        yield
    yield from ending(engine, ref, live)
    yield from ending_wait(engine, live["id"])
    eventlog.container(engine.paths, record, "stop")


def wait(engine: Engine, ref: str) -> int:
    """Block until the container ends; its exit status, also of one that is removed then."""
    return Waiting(engine, ref).end()


class Waiting:
    """A `wait` that has begun: for the end of the run that is on now, whatever comes after it. Raises
    NotFound.
    """

    def __init__(self, engine: Engine, ref: str) -> None:
        self.engine = engine
        record = resolve(engine, ref)
        self.id: str = record["Id"]
        self.lock = locks.watch(engine.paths, self.id) if record["State"]["Running"] else -1

    def end(self) -> int:
        """Block until then; the exit status."""
        lock, self.lock = self.lock, -1
        status = None
        if lock >= 0:
            try:
                status = locks.await_end_of(lock)
            finally:
                os.close(lock)
        if status is not None:
            return status
        ended = resolve_if_there(self.engine, self.id)
        return int(ended["State"]["ExitCode"]) if ended else 0


def remove(engine: Engine, ref: str, *, force: bool = False, volumes: bool = False) -> str:
    """Remove a stopped container (with `force` a running one); its id. Raises NotFound, Conflict."""
    return tasks.run(removing(engine, ref, force=force, volumes=volumes))


def removing(
    engine: Engine, ref: str, *, force: bool = False, volumes: bool = False
) -> Generator[None, None, str]:
    """`remove` as a task."""
    try:
        record = resolve(engine, ref)
    except (StateError, InvalidInput):
        damaged = find_damaged(engine, ref) if force else ""
        if not damaged:
            raise
        from estiva.engine.state.life import reconcile

        reconcile.destroy(engine.paths, engine.db, damaged, volumes=volumes)
        return damaged
    container_id: str = record["Id"]
    began = looked = time.monotonic()
    while True:
        try:
            lock = locks.take(engine.paths, container_id)
            break
        except BlockingIOError:
            if record["State"]["Running"] and not force:
                raise Conflict(
                    f"container {ref} is {record['State']['Status']}",
                    hint="stop it first, or remove it with --force",
                ) from None
        try:
            live = runstate.read(engine.paths, container_id)
        except StateError:
            if not force:
                raise
            from estiva.engine.state.life import reconcile

            reconcile.destroy(engine.paths, engine.db, container_id, volumes=volumes)
            return container_id
        if live is not None:
            restarts.mark_stopped(engine.paths, container_id, live)
            send(engine, live, _signal.SIGKILL, "rm")
            thaw(engine, live)
            yield from ending(engine, ref, live, force=force)
        elif record["State"]["Restarting"]:
            restarts.mark_stopped(engine.paths, container_id, None)
            yield from ending_wait(engine, container_id)
        else:
            yield  # it is being made, started or removed, or has ended just now
            if time.monotonic() > looked + (STOPPED if force else LONG):
                from estiva.engine.state import starters

                if force:
                    starters.end(engine.paths, container_id)
                looked = time.monotonic()
                if looked > began + LONG:
                    starters.refuse(engine.paths, container_id)
        now = resolve_if_there(engine, container_id)
        if now is None:
            return container_id  # it was a --rm one
        record = now
    try:
        about = eventlog.about(record)
        teardown.forget(engine.paths, engine.db, container_id, volumes=volumes, about=about)
        locks.leave(engine.paths, container_id)
    finally:
        os.close(lock)
    return container_id


def pause(engine: Engine, ref: str) -> None:
    """Freeze every process of a running container."""
    tasks.run(pausing(engine, ref))


def pausing(engine: Engine, ref: str) -> Task:
    """`pause` as a task."""
    live = yield from appearing(engine, ref)
    with gate.Closed(engine.paths.run_container(live["id"])):  # nobody who is on the way into it freezes too
        live = runstate.read(engine.paths, live["id"]) or live
        if live.get("paused"):
            raise Conflict(f"container {ref} is already paused", hint=f"`estiva unpause {ref}` lets it go on")
        factory.open(live["cgroup"]).freeze()
        mark(engine, live, True)
    said(engine, live, "pause")


def unpause(engine: Engine, ref: str) -> None:
    """Let a paused container go on."""
    tasks.run(unpausing(engine, ref))


def unpausing(engine: Engine, ref: str) -> Task:
    """`unpause` as a task."""
    live = yield from appearing(engine, ref)
    if not live.get("paused") and not factory.open(live["cgroup"]).frozen():
        raise Conflict(f"container {ref} is not paused")
    thaw(engine, live)
    said(engine, live, "unpause")


def restarting(
    engine: Engine,
    ref: str,
    *,
    timeout: int | None = None,
    signal: str | None = None,
    starting: Task | None = None,
) -> Task:
    """Stop, then start; as a task; by `starting`, if it is given."""
    from estiva import settings
    from estiva.engine.containers import start

    settings.read()  # without which it could not be started: then it is not stopped either
    yield from stopping(engine, ref, timeout=timeout, signal=signal, verb="restart")
    yield from start.starting(engine, ref) if starting is None else starting
    eventlog.container(engine.paths, resolve(engine, ref), "restart")


def rename(engine: Engine, ref: str, name: str) -> None:
    """Give a container another name. Raises Conflict when it is taken."""
    from estiva.engine.state import names

    record = resolve(engine, ref)
    new = names.check(name.removeprefix("/"))
    if record["Name"] == "/" + new:
        raise InvalidInput(f"the container is called {new} already", hint="give another name")
    with engine.db.write() as transaction:
        taken = containers.named(transaction, new)
        if taken:
            raise NameTaken(f'the name "{new}" is in use by container {taken[0][:12]}', new, taken[0])
        row = containers.get(transaction, record["Id"])
        if row is None:
            raise NotFound(f"no such container: {ref}")
        stored: Record = fastjson.loads(row[2])
        old = stored["Name"].removeprefix("/")
        stored["Name"] = "/" + new
        containers.rename(transaction, record["Id"], new, fastjson.dumps(stored))
    eventlog.container(engine.paths, stored, "rename", oldName="/" + old)
    if record["State"]["Running"]:
        naming.unlink_name(engine.paths.run_root, old, record["Id"])
        naming.link_name(engine.paths.run_root, new, record["Id"])
