"""That half of a Container which is about boxes: snapshots and forks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from estiva.sdk import values
from estiva.sdk.objects.commands import Commands
from estiva.sdk.told import told

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Self

    from estiva.engine import Engine
    from estiva.sdk.begun import Begun
    from estiva.sdk.sandbox.python import Python
    from estiva.sdk.sandbox.snapshots import Snapshot

# of a container's HostConfig, what a fork of it can't have too
_OWN = ("AutoRemove", "ContainerIDFile", "IDMappings", "Links", "RestartPolicy", "ConsoleSize")


class Boxes(Commands):
    """See above."""

    engine: Engine
    id: str
    gone: bool
    begun: Begun | None = None  # the block of estiva.container that it ends with
    _python: Python | None = None

    def __init__(self, engine: Engine, container_id: str) -> None:
        self.engine = engine
        self.id = container_id

    def _ended(self) -> None:
        """The block that it was begun for is over."""
        self.gone = True
        python, self._python = self._python, None
        if python is not None:
            python.drop()

    @property
    def python(self) -> Python:
        """A Python interpreter in it, started with the first run, of which each run is a fork.

        print(box.python.run("import sys; sys.version", timeout=5).value)
        """
        if self._python is None:
            from estiva.sdk.sandbox.python import Python

            self._python = Python(self)
        return self._python

    @told
    def snapshot(self, name: str | None = None, *, memory: bool = False) -> Snapshot:
        """What it has written until now, as a state from which other containers are made; it goes on, also
        while it runs.

            ready = box.snapshot("ready")
            with estiva.container(ready) as other: ...

        In milliseconds while no command runs in it, or when it is stopped; else its files are copied, with
        the container frozen meanwhile. Volumes and other mounts are not part of it. `memory`: its processes
        too, with which whatever is made from it without a command of its own goes on; by criu(8), and
        Unsupported says what is in the way. Raises Conflict for a name that is taken.
        """
        from estiva.engine.containers.snapshots import snapshot
        from estiva.sdk.sandbox.snapshots import Snapshot

        wanted = values.text("name", name) if name is not None else None
        made = snapshot.create(self.engine, self.id, wanted, memory=values.flag("memory", memory))
        return Snapshot(self.engine, made.state, made)

    @told
    def fork(self, *, memory: bool = False) -> AbstractContextManager[Self]:
        """A new box that begins with the files that this one has now, and its options: for a with-block.

            with box.fork() as other:
                other.exec("make test")

        Ports that are published on a fixed port of the host are published on any free one, and fixed
        addresses and the name are left out. `memory`: with its processes too, as of `snapshot`.
        """
        from estiva.engine.state import lookup
        from estiva.sdk.sandbox.owned import Owned

        state = self.snapshot(memory=memory)
        record: Any = lookup.resolve(self.engine, self.id)
        config = {
            key: value for key, value in record["Config"].items() if key != "Hostname" and value is not None
        }
        if record["Config"].get("Hostname") not in (self.id[:12], None):
            config["Hostname"] = record["Config"]["Hostname"]
        config.update(Image=state.id, Entrypoint=config.get("Entrypoint") or [], Cmd=config.get("Cmd") or [])
        if memory:  # what its processes say
            config.update(Entrypoint=None, Cmd=None)
        host = {
            key: value for key, value in record["HostConfig"].items() if key not in _OWN and value is not None
        }
        host["PortBindings"] = {port: [{"HostPort": ""}] for port in host.get("PortBindings") or {}}
        block = Owned(self.engine, type(self), config, host, {"pull": "never"})
        block.state = state  # it goes with the block
        return block
