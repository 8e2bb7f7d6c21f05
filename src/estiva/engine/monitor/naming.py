"""The embedded name server of a container on networks that somebody made, as its monitor sees to it (loaded
only then)."""

from __future__ import annotations

from estiva.network.dns import handover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.monitor.streams import Conversation
    from estiva.engine.state.types import Plan
    from estiva.network.dns.handover import Names


def begin(plan: Plan, pid: int) -> Names:
    """Before the command can ask: sockets in the network namespace of process `pid`, handed to the resolver.

    Raises EngineError.
    """
    settings = plan["names"]
    sockets = handover.open_sockets(pid, settings["servers"])
    names = handover.Names(plan["id"], plan["root"], plan["run_root"], settings, sockets)
    names.note()
    names.register()
    return names


def watch(names: Names, streams: Conversation) -> None:
    """Whatever ends the resolver, the next one gets the sockets."""

    def renew() -> None:
        names.renew()
        watch(names, streams)

    if names.channel is not None:
        streams.beside[names.channel.fileno()] = renew
