"""The fork that a cold `estiva run` makes first: the monitor loads its modules while its caller prepares.

It happens before the words are read, so this module imports nothing but what the fork takes. Only a process
with one thread that ends soon may do it: the command line.
"""

from __future__ import annotations

import _signal
import os
from _socket import socket

from estiva.engine.monitor.protocol import pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Handed

_waiting: socket | None = None  # the channel of a monitor without a plan yet


def fork(*, bridge: bool = True, own: bool = False) -> None:
    """Fork the monitor of the container to come, once. `bridge`: a guess whether it is for a bridge; `own`:
    one whether that of a network of one's own."""
    global _waiting
    if _waiting is not None:
        return
    ours, theirs = pair()
    if os.fork() == 0:
        for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGTSTP):
            _signal.signal(number, _signal.SIG_IGN)
        ours.close()
        await_plan(theirs, bridge, own)
    theirs.close()
    _waiting = ours


def take() -> socket:
    """The channel of a monitor that waits; one is forked now if there is none."""
    global _waiting
    fork()
    assert _waiting is not None
    channel, _waiting = _waiting, None
    return channel


def await_plan(channel: socket, bridge: bool, own: bool = False) -> None:
    """The monitor to be, until it hears what of; it ends if the caller goes without a word."""
    try:
        os.setsid()
        from select import select

        from estiva.engine.monitor import (
            main,  # noqa: F401
            monitor,  # noqa: F401
            protocol,  # noqa: F401
        )
        from estiva.linux import process
        from estiva.runtime import cgroup

        process.set_title("estiva: monitor", wipe=False)  # its caller's words are no business of others (K24)
        cgroup.preload()
        if not select([channel], [], [], 0)[0]:
            if bridge:
                from estiva.network import bridge as _bridge  # noqa: F401
            else:  # its end looks whether it has been put on networks meanwhile
                from estiva.network import ipam as _ipam  # noqa: F401
        if own and not select([channel], [], [], 0)[0]:
            from estiva.engine.monitor.network import own as _own  # noqa: F401
        request: Handed | None
        request, fds = protocol.receive(channel)
        if request:
            main.become_monitor(request["plan"], channel, (fds[1], fds[2], fds[3]), fds[0], fds[4:])
    finally:
        os._exit(1)
