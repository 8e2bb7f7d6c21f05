"""How a new resolver gets the sockets of containers that run already: from the monitors that keep them, by
pidfd_getfd(2), each as the note in its run folder says (handover.py).

So it answers all of them at once, though most monitors hibernate, and take their time to notice that the
one before it was killed. What a monitor hands over later takes the place of what was adopted from it.
"""

from __future__ import annotations

import os
from _socket import socket as _socket

from estiva import fastjson
from estiva.errors import EstivaError
from estiva.files import read_bounded
from estiva.linux import process, procinfo
from estiva.network.dns.loop import Held
from estiva.network.dns.server import SOCKETS, Container, Resolver

NOTE = 1 << 14  # bytes


def adopt(resolver: Resolver, root: str, run_root: str) -> None:
    """All containers of the state root whose monitors live, but those whose note is not as it should be."""
    try:
        found = os.listdir(f"{run_root}/containers")
    except OSError:
        return
    for name in found:
        try:
            note = fastjson.loads(read_bounded(f"{run_root}/containers/{name}/names", NOTE))
            if note["root"] == root:
                _adopt(resolver, note)
        except (OSError, EstivaError, ValueError, TypeError, LookupError):
            continue


def _adopt(resolver: Resolver, note: dict[str, object]) -> None:
    """Raises OSError, or what a note that is none brings about."""
    pid, started, sockets = note["monitor"], note["started"], note["sockets"]
    if not isinstance(pid, int) or not isinstance(sockets, list) or not isinstance(note["message"], dict):
        raise ValueError("not a note")
    monitor = Held(os.pidfd_open(pid))
    taken: list[_socket] = []
    try:
        if procinfo.start_time(pid) != started:
            raise ProcessLookupError(3, "another process")
        for fd in sockets[:SOCKETS]:
            taken.append(_socket(fileno=process.pidfd_getfd(monitor.fd, int(fd))))
        resolver.admit(Container(resolver, monitor, note["message"], taken))
    except BaseException:
        monitor.close()
        for held in taken:
            held.close()
        raise
