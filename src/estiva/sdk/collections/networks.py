"""Networks of an engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack

from estiva.engine.networks import asked, connect, create, look, remove
from estiva.errors import InvalidInput
from estiva.sdk import shapes, values
from estiva.sdk.objects.container import Container
from estiva.sdk.objects.shown import Pruned
from estiva.sdk.run_options import EndpointOptions
from estiva.sdk.told import told
from estiva.sdk.typed import options_of, shows

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping, Sequence

    from estiva.engine import Engine


@dataclass(frozen=True, slots=True)
class Network:
    """A network; `attrs` is all that is known of it, in Docker's shape."""

    id: str
    name: str
    driver: str
    subnets: tuple[str, ...]
    internal: bool
    labels: Mapping[str, str]
    attrs: Mapping[str, Any] = field(repr=False, compare=False)
    engine: Engine = field(repr=False, compare=False)

    @property
    def short_id(self) -> str:
        return self.id[:12]

    @property
    @told
    def containers(self) -> list[Container]:
        """Those that are on it now."""
        found = look.inspect(self.engine, self.id or self.name).get("Containers") or {}
        return [Container(self.engine, one) for one in found]

    @told
    @shows(EndpointOptions)
    def connect(self, container: Container | str, **options: Unpack[EndpointOptions]) -> None:
        """Put a container on it, also while that runs.

        net.connect(box, ip="10.9.0.7", aliases=["db"])
        """
        endpoint = shapes.endpoint(options_of(EndpointOptions, options))
        connect.connect(self.engine, self.name, _id(container), endpoint)

    @told
    def disconnect(self, container: Container | str, *, force: bool = False) -> None:
        """Take a container off it."""
        connect.disconnect(self.engine, self.name, _id(container), force=values.flag("force", force))

    @told
    def remove(self, *, force: bool = False) -> None:
        """Remove it. Raises Conflict while containers are on it; NotFound unless `force`."""
        remove.remove(self.engine, self.name, force=values.flag("force", force))


def _id(container: Any) -> str:
    found = container.id if isinstance(container, Container) else container
    if not isinstance(found, str) or not found:
        raise values.wrong("container", "a Container, a name or an id", container)
    return found


class Networks:
    """Networks of an engine: `estiva.Engine().networks`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @told
    def create(
        self,
        name: str,
        *,
        driver: str = "bridge",
        subnet: str | Sequence[str] = (),
        gateway: str | Sequence[str] = (),
        ip_range: str | Sequence[str] = (),
        aux_address: Mapping[str, str] | None = None,
        internal: bool = False,
        ipv6: bool = False,
        attachable: bool = False,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        ipam_options: Mapping[str, str] | None = None,
    ) -> Network:
        """Make a network.

            net = engine.networks.create("back", subnet="10.9.0.0/24", internal=True)

        Raises Conflict where the name, or the subnet, is taken, InvalidInput, Unsupported.
        """
        wanted = asked.Asked()
        wanted.driver = values.text("driver", driver, "bridge")
        wanted.subnets = values.listed("subnet", subnet)
        wanted.gateways = values.listed("gateway", gateway)
        wanted.ranges = values.listed("ip_range", ip_range)
        wanted.auxiliary = values.table("aux_address", aux_address)
        wanted.internal = values.flag("internal", internal)
        wanted.ipv6 = values.flag("ipv6", ipv6)
        wanted.attachable = values.flag("attachable", attachable)
        wanted.labels = values.table("labels", labels)
        wanted.options = values.table("options", options)
        wanted.ipam_options = values.table("ipam_options", ipam_options)
        name = values.text("name", name)
        if not name:
            raise InvalidInput("a network needs a name")
        return self.get(create.create(self.engine, name, wanted))

    @told
    def get(self, name: str) -> Network:
        """A network by its name, its id or the beginning of that. Raises NotFound."""
        return self._network(look.inspect(self.engine, values.name("network", name)))

    @told
    def list(self, *, filters: Mapping[str, Any] | None = None) -> builtins.list[Network]:
        """All networks, by name. Filters are Docker's: name, id, driver, type, label, scope, dangling."""
        return [self._network(one) for one in look.listing(self.engine, values.filters(filters))]

    @told
    def reload(self) -> builtins.list[str]:
        """Make the firewall's rules again, of all networks and published ports, where somebody has flushed
        them: what was done, in words."""
        return list(remove.reload(self.engine))

    @told
    def prune(self, *, filters: Mapping[str, Any] | None = None) -> Pruned:
        """Remove the networks that no container belongs to: their names."""
        return Pruned(tuple(remove.prune(self.engine, values.filters(filters))), 0)

    def _network(self, one: dict[str, Any]) -> Network:
        pools = (one.get("IPAM") or {}).get("Config") or ()
        return Network(
            id=one["Id"],
            name=one["Name"],
            driver=one["Driver"],
            subnets=tuple(pool["Subnet"] for pool in pools if pool.get("Subnet")),
            internal=bool(one.get("Internal")),
            labels=one.get("Labels") or {},
            attrs=one,
            engine=self.engine,
        )
