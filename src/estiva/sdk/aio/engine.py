"""The engine in asyncio: its collections, and what happens in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from estiva import engine as base
from estiva.sdk import running, values
from estiva.sdk.aio.bridge import Around, Field, copied, each, later
from estiva.sdk.aio.container import Container
from estiva.sdk.aio.containers import finished, kept, there
from estiva.sdk.aio.images import Image, Images
from estiva.sdk.aio.loop import Stream, call
from estiva.sdk.aio.snapshots import Snapshot, Snapshots, begins
from estiva.sdk.collections import containers as containers_
from estiva.sdk.collections import events, images, networks, registry, system, volumes
from estiva.sdk.objects.container import Container as PlainContainer
from estiva.sdk.pipes import MAX_OUTPUT
from estiva.sdk.run_options import CreateOptions, EndpointOptions
from estiva.sdk.sandbox import snapshots
from estiva.sdk.told import told_later
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, overload

    from estiva.sdk.collections.containers import Command, Data
    from estiva.sdk.engine import Moment
    from estiva.sdk.objects.shown import Event
    from estiva.sdk.result import Result


class Containers(Around[containers_.Containers]):
    """Containers of an engine: `estiva.aio.Engine().containers`."""

    get = later(containers_.Containers.get, Container)
    list = later(containers_.Containers.list, each(Container))
    prune = later(containers_.Containers.prune)

    @shows(CreateOptions)
    @told_later
    async def create(
        self, image: str | Image | Snapshot, command: Command | None = None, **options: Unpack[CreateOptions]
    ) -> Container:
        """Make a container that does not run yet: see estiva.Engine().containers.create."""
        from estiva.engine.containers import control, create

        engine = self._plain.engine
        config, host_config, chosen = running.settings(begins(image), command or (), options)
        chosen = await there(engine, config["Image"], chosen)
        record = await call(
            lambda: create.create(engine, config, host_config, **chosen),
            lambda record: control.remove(engine, record["Id"], volumes=True),
        )
        return Container(PlainContainer(engine, record["Id"], own=True))

    if TYPE_CHECKING:

        @overload
        async def run(
            self,
            image: str | Image | Snapshot,
            command: Command = (),
            *,
            detach: Literal[False] = False,
            input: Data | None = None,
            timeout: float | None = None,
            max_output: int = MAX_OUTPUT,
            on_output: Callable[[str, bytes], object] | None = None,
            **options: Unpack[CreateOptions],
        ) -> Result: ...

        @overload
        async def run(
            self,
            image: str | Image | Snapshot,
            command: Command = (),
            *,
            detach: Literal[True],
            **options: Unpack[CreateOptions],
        ) -> Container: ...

    @shows(CreateOptions)
    @told_later
    async def run(
        self,
        image: str | Image | Snapshot,
        command: Command = (),
        *,
        detach: bool = False,
        input: Data | None = None,
        timeout: float | None = None,
        max_output: int = MAX_OUTPUT,
        on_output: Callable[[str, bytes], object] | None = None,
        **options: Unpack[CreateOptions],
    ) -> Result | Container:
        """Run a command in a new container, and remove it: see `estiva.aio.run`. With `detach`, start it and
        return it; then it stays when the program ends, as with the command line's `run -d`."""
        engine = self._plain.engine
        if not values.flag("detach", detach):
            return await finished(
                engine, begins(image), command, input, timeout, max_output, on_output, options, CreateOptions
            )
        config, host_config, chosen = running.settings(begins(image), command or (), options)
        chosen = await there(engine, config["Image"], chosen)
        return Container(await kept(engine, config, host_config, chosen))


class Volume(Around[volumes.Volume]):
    """A volume; `path` is where its files are on the host, `created` RFC 3339."""

    name = Field[str]("name")
    labels = Field[Mapping[str, str]]("labels")
    options = Field[Mapping[str, str]]("options")
    path = Field[str]("path")
    created = Field[str]("created")

    remove = copied(volumes.Volume.remove)
    export = copied(volumes.Volume.export)
    load = copied(volumes.Volume.load)


class Volumes(Around[volumes.Volumes]):
    """Volumes of an engine: `estiva.aio.Engine().volumes`."""

    create = later(volumes.Volumes.create, Volume)
    get = later(volumes.Volumes.get, Volume)
    list = later(volumes.Volumes.list, each(Volume))
    prune = copied(volumes.Volumes.prune)


class Network(Around[networks.Network]):
    """A network; `attrs` is all that is known of it, in Docker's shape."""

    id = Field[str]("id")
    short_id = Field[str]("short_id")
    name = Field[str]("name")
    driver = Field[str]("driver")
    subnets = Field[tuple[str, ...]]("subnets")
    internal = Field[bool]("internal")
    labels = Field[Mapping[str, str]]("labels")
    attrs = Field[Mapping[str, Any]]("attrs")

    remove = later(networks.Network.remove)

    async def containers(self) -> list[Container]:
        """Those that are on it now."""
        return [Container(one) for one in await call(lambda: self._plain.containers)]

    @shows(EndpointOptions)
    async def connect(self, container: Container | str, **options: Unpack[EndpointOptions]) -> None:
        """Put a container on it, also while that runs: see estiva.Network.connect."""
        await call(partial(self._plain.connect, _plain(container), **options))

    async def disconnect(self, container: Container | str, *, force: bool = False) -> None:
        """Take a container off it."""
        await call(partial(self._plain.disconnect, _plain(container), force=force))


def _plain(container: Any) -> Any:
    return container.id if isinstance(container, Container) else container


class Networks(Around[networks.Networks]):
    """Networks of an engine: `estiva.aio.Engine().networks`."""

    create = later(networks.Networks.create, Network)
    get = later(networks.Networks.get, Network)
    list = later(networks.Networks.list, each(Network))
    prune = later(networks.Networks.prune)
    reload = later(networks.Networks.reload)


class Registry(Around[registry.Registry]):
    """Registries: `estiva.aio.Engine().registry`."""

    login = copied(registry.Registry.login)
    logout = later(registry.Registry.logout)
    search = copied(registry.Registry.search)
    tags = copied(registry.Registry.tags)
    referrers = copied(registry.Registry.referrers)


class System(Around[system.System]):
    """What concerns the whole engine: `estiva.aio.Engine().system`."""

    version = later(system.System.version)
    info = later(system.System.info)
    df = copied(system.System.df)
    prune = copied(system.System.prune)
    build_cache = copied(system.System.build_cache)
    prune_build_cache = copied(system.System.prune_build_cache)
    remove_cache_mounts = copied(system.System.remove_cache_mounts)
    export_cache_mount = copied(system.System.export_cache_mount)
    check = copied(system.System.check)
    doctor = later(system.System.doctor)
    resume = copied(system.System.resume)


class Engine(base.Engine):
    """As estiva.Engine, in asyncio: `async for event in estiva.aio.Engine().events(): ...`."""

    def __init__(
        self, root: str | os.PathLike[str] | None = None, run_root: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__(root, run_root)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.paths.root, self.paths.run_root)

    def __repr__(self) -> str:
        return f"estiva.aio.Engine({self.paths.root!r}, {self.paths.run_root!r})"

    @property
    def containers(self) -> Containers:
        """create, run, get, list, prune."""
        return Containers(containers_.Containers(self))

    @property
    def images(self) -> Images:
        """pull, push, build, get, list, tag, remove, save, load, prune."""
        return Images(images.Images(self))

    @property
    def volumes(self) -> Volumes:
        """create, get, list, prune."""
        return Volumes(volumes.Volumes(self))

    @property
    def networks(self) -> Networks:
        """create, get, list, prune."""
        return Networks(networks.Networks(self))

    @property
    def registry(self) -> Registry:
        """login, logout, search, tags, referrers."""
        return Registry(registry.Registry(self))

    @property
    def snapshots(self) -> Snapshots:
        """get, list."""
        return Snapshots(snapshots.Snapshots(self))

    @property
    def system(self) -> System:
        """info, version, df, prune, check, resume."""
        return System(system.System(self))

    def events(
        self,
        since: Moment | None = None,
        until: Moment | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> Stream[Event]:
        """What happens from now, or `since`, on: see estiva.Engine.events.

        async for event in engine.events(filters={"type": "container", "event": "die"}): ...
        """
        stream = events.events(
            self, values.moment("since", since), values.moment("until", until), values.filters(filters)
        )
        return Stream(lambda: stream)
