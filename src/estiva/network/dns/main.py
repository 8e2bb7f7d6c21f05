"""How the resolver's process begins: a fresh interpreter (handover.py starts it) that opens the database
and then gives up what it could do harm with.

It holds sockets in containers' network namespaces and reads what containers and other name servers send. So
it runs as a user of its own without any capability, can gain none, can't be traced, may ask little of the
kernel, and no path of the engine's state is open to it: what it needs is open by then. It opens the
database for reading; a database that is moved away ends it, and the next one opens the new one.
"""

from __future__ import annotations

import gc
import os
from _socket import AF_UNIX, SOCK_SEQPACKET, socket

from estiva.linux import process
from estiva.linux.inotify import watch_moved
from estiva.network.dns import cage
from estiva.network.dns.adopt import adopt
from estiva.network.dns.names import Directory
from estiva.network.dns.server import Resolver

USER = 65533  # whom nothing belongs to
FILES = 1 << 16  # fds


def run(listening: int, root: str, run_root: str) -> None:
    """The whole life of the process: `listening` is the fd of the socket that monitors connect to."""
    database = f"{root}/estiva.db"
    try:
        os.set_inheritable(listening, False)
        process.set_title("estiva: names")
        resolver = Resolver(socket(AF_UNIX, SOCK_SEQPACKET, 0, listening), Directory(database))
        resolver.directory.refresh()
        moved = watch_moved(database)
        if moved >= 0:
            resolver.loop.watch(moved, 1, lambda _: _leave(resolver))
        adopt(resolver, root, run_root)
        drop()
        gc.collect()
        gc.freeze()
        cage.close()
        resolver.run()
    finally:
        os._exit(0)


def _leave(resolver: Resolver) -> None:
    resolver.over = True


def drop() -> None:
    """Give up all rights, as far as we have them."""
    try:
        import resource
    except ImportError:
        pass
    else:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        for most in (FILES, hard):
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, max(most, hard)))
                break
            except (OSError, ValueError):  # to raise the hard limit takes CAP_SYS_RESOURCE
                continue
    process.no_new_privs()
    if os.geteuid() == 0:
        try:
            process.bounding_drop(range(process.known_capabilities()))
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
        except OSError:  # a user namespace without such a user
            process.capset(0, 0, 0)
    process.set_dumpable(False)
