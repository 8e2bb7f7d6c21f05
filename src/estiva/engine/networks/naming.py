"""The embedded name server for a container that joins its first network that somebody made while it runs."""

from __future__ import annotations

import os

from estiva import fastjson
from estiva.engine.containers import attach
from estiva.engine.mounts import hostfiles
from estiva.errors import EstivaError
from estiva.files import read_bounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import Order, Record

LIMIT = 1 << 16  # bytes of a container's resolv.conf


def begin(engine: Engine, record: Record) -> None:
    """Have its monitor, which keeps them, make the sockets; then, as Docker does, name the server in the
    container's /etc/resolv.conf, unless somebody has changed that.

    Where there is no monitor to hear it, the container has names from its next start on.
    """
    channel = attach.connect(engine.paths.run_container(record["Id"]))
    if channel is None:
        return
    order: Order = {"do": "names", "settings": hostfiles.name_server(record["HostConfig"])}
    try:
        channel.setblocking(False)  # a stopped one is not waited for
        channel.send(fastjson.dumps(order).encode())
    except OSError:
        return
    finally:
        channel.close()
    _point(f"{engine.paths.container(record['Id'])}/resolv.conf", record)


def _point(path: str, record: Record) -> None:
    """The file is written in place: it is mounted itself."""
    before, after = (
        hostfiles.resolv_conf(record["HostConfig"], embedded=one).encode() for one in (False, True)
    )
    try:
        if read_bounded(path, LIMIT) != before:
            return
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (OSError, EstivaError):
        return
    try:
        os.pwrite(fd, after, 0)
        os.ftruncate(fd, len(after))
    finally:
        os.close(fd)
