"""What a monitor knows, as data: for the time that it hibernates (hibernate.py)."""

from __future__ import annotations

from _socket import AF_UNIX, SOCK_SEQPACKET, socket

from estiva.engine.monitor.logs import log
from estiva.engine.monitor.monitor import Monitor
from estiva.engine.monitor.source import STDERR, STDOUT, Source
from estiva.engine.monitor.streams import Input
from estiva.runtime.cgroup import factory
from estiva.runtime.launch import clone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Frozen, FrozenSource


def freeze(monitor: Monitor) -> Frozen:
    """All that `thaw` needs in another interpreter of this process; under "fds" what must stay open."""
    assert monitor.init is not None and monitor.cgroup is not None
    sources: list[FrozenSource] = [
        {"fd": source.fd, "stream": "stderr" if source.tag == STDERR else "stdout"}
        for source in monitor.streams.sources
    ]
    listening = monitor.streams.audience.listening.fileno() if monitor.streams.audience is not None else -1
    partial = monitor.log.partial if monitor.log is not None else {}
    state: Frozen = {
        "plan": monitor.plan,
        "pid": monitor.init.pid,
        "pidfd": monitor.init.pidfd,
        "console": monitor.init.console,
        "cgroup": monitor.cgroup.path,
        "started": monitor.started,
        "began": monitor.began,
        "hold": monitor.hold,
        "sources": sources,
        "input": monitor.streams.input.fd if monitor.streams.input is not None else -1,
        "listening": listening,
        # lines that wait for their newlines, bytes of any kind
        "partial": {name: rest.decode("latin-1") for name, rest in partial.items()},
        "sent": monitor.streams.sent,
        "fds": [],
    }
    if monitor.streams.health is not None:
        state["health"] = monitor.streams.health.times
    if monitor.streams.memory is not None:
        state["ooms"] = monitor.streams.memory.known
    sockets = [port.fileno() for port in monitor.endpoint.sockets] if monitor.endpoint is not None else []
    fds = [state["pidfd"], monitor.hold, state["console"], state["input"], listening, *sockets]
    fds += [source["fd"] for source in sources]
    if monitor.names is not None:
        state["names"] = monitor.names.freeze()
        fds += [*state["names"]["sockets"], state["names"]["channel"]]
    state["fds"] = sorted({fd for fd in fds if fd >= 0})
    return state


def thaw(state: Frozen) -> Monitor:
    """The monitor again."""
    plan = state["plan"]
    monitor = Monitor(plan, None, (-1, -1, -1), state["hold"])
    monitor.init = clone.Init.adopt(state["pid"], state["pidfd"], state["console"])
    monitor.cgroup = factory.open(state["cgroup"])
    monitor.started, monitor.began = state["started"], state["began"]
    monitor.log = log.open(plan, new=False)
    if monitor.log is not None:
        monitor.streams.outlet = monitor.log.outlet
        monitor.log.partial = {name: text.encode("latin-1") for name, text in state["partial"].items()}
    monitor.streams.sent = [(number, by) for number, by in state["sent"]]
    for source in state["sources"]:
        say = monitor.log.stream(source["stream"]) if monitor.log else None
        tag = STDERR if source["stream"] == "stderr" else STDOUT
        monitor.streams.sources.append(Source(source["fd"], -1, say, tag))
    if state["input"] >= 0:
        monitor.streams.input = Input(-1, state["input"], tty=state["input"] == state["console"])
    if "health" in state:
        from estiva.engine.monitor.life import health

        monitor.streams.health = health.Health(plan, monitor.streams.signal, state["health"])
    if "ooms" in state:
        from estiva.engine.monitor.life import memory

        monitor.streams.memory = memory.Memory(plan, monitor.cgroup, state["ooms"])
        monitor.streams.memory.look(False)
    if "names" in state:
        from estiva.network.dns import handover

        monitor.names = handover.Names.thaw(state["names"])
    if state["listening"] >= 0:
        from estiva.engine.monitor import audience

        listening = socket(AF_UNIX, SOCK_SEQPACKET, 0, state["listening"])
        monitor.streams.audience = audience.Audience(listening, monitor.streams.hear)
    return monitor
