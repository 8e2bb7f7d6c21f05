"""The verbs of `network`: ls, create, inspect, rm, prune, connect, disconnect, reload."""

from __future__ import annotations

from estiva.cmdline.parser import FLAG, LIST, TEXT, Options, UsageError, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context


def ls(context: Context, options: Options) -> None:
    from estiva.cli.format import tables
    from estiva.cli.format.struct import labelled
    from estiva.engine.networks import look

    wanted = tables.filters(options.many("filter"), look.FILTERS)
    listing = sorted(look.listing(context.engine, wanted), key=lambda entry: tables.natural(entry["Name"]))
    whole = options.flag("no-trunc")
    if options.flag("quiet") and options.text("format") in ("", "table"):
        for entry in listing:
            print(entry["Id"] if whole else entry["Id"][:12])
        return
    rows = [
        labelled(
            {
                "CreatedAt": entry["Created"],
                "Driver": entry["Driver"],
                "ID": entry["Id"] if whole else entry["Id"][:12],
                "IPv6": str(entry["EnableIPv6"]).lower(),
                "Internal": str(entry["Internal"]).lower(),
                "Name": entry["Name"],
                "Scope": entry["Scope"],
            },
            entry["Labels"],
        )
        for entry in listing
    ]
    headings = [("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("Scope", "SCOPE")]
    tables.show(rows, headings, options.text("format"))


def create(context: Context, options: Options) -> None:
    from estiva.cli.options import values
    from estiva.engine.networks import create as making
    from estiva.engine.networks.asked import Asked
    from estiva.errors import Unsupported

    swarm = [name for name in ("config-from", "config-only", "ingress") if options.given(name)]
    if options.text("scope", "local") != "local":
        swarm.append("scope")
    if swarm:
        raise Unsupported(f"--{swarm[0]} is not supported: it is of a swarm", hint="leave it out")
    if options.text("ipam-driver", "default") != "default":
        driver = options.text("ipam-driver")
        raise Unsupported(f"--ipam-driver {driver} is not known: there is only default")
    if not options.flag("ipv4", True):
        raise Unsupported("--ipv4=false is not supported: every network has IPv4 addresses")
    asked = Asked()
    asked.driver = options.text("driver", "bridge")
    asked.subnets = _split(options.many("subnet"))
    asked.gateways = _split(options.many("gateway"))
    asked.ranges = _split(options.many("ip-range"))
    asked.auxiliary = _pairs("aux-address", options.many("aux-address"))
    asked.internal = options.flag("internal")
    asked.ipv6 = options.flag("ipv6")
    asked.attachable = options.flag("attachable")
    asked.options = _pairs("opt", options.many("opt"), bare=True)
    asked.ipam_options = _pairs("ipam-opt", options.many("ipam-opt"))
    if asked.ipam_options:
        raise Unsupported(f"--ipam-opt {min(asked.ipam_options)} is not known: there are none")
    try:
        asked.labels = values.labels((), options.many("label"))
    except ValueError as error:
        raise UsageError(str(error)) from None
    print(making.create(context.engine, options.arguments[0], asked))


def _split(words: list[str]) -> list[str]:
    return [part for word in words for part in word.split(",")]


def _pairs(option: str, words: list[str], *, bare: bool = False) -> dict[str, str]:
    """KEY=VALUE words; a `bare` KEY has no value. Raises UsageError."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not (equals or bare):
            raise UsageError(f"--{option}: invalid value '{word}': KEY=VALUE is needed")
        found[key] = value
    return found


def inspect(context: Context, options: Options) -> int:
    from estiva.cli.inspect import show

    return show(context, options.arguments, options.text("format"), ("network",))


def rm(context: Context, options: Options) -> int:
    from estiva.cli.context import tell
    from estiva.engine.networks import remove
    from estiva.errors import EstivaError

    status = 0
    for name in options.arguments:
        try:
            if remove.remove(context.engine, name, force=options.flag("force")):
                print(name)
        except EstivaError as error:
            tell(error)
            status = 1
    return status


def prune(context: Context, options: Options) -> None:
    from estiva.cli.format import tables
    from estiva.cli.image.images import confirm
    from estiva.engine.networks import remove

    wanted = tables.filters(options.many("filter"), remove.PRUNE_FILTERS)
    if not confirm(options, "all networks of your own that no container belongs to"):
        return
    names = remove.prune(context.engine, wanted)
    if names:
        print("Deleted Networks:", *names, "", sep="\n")


def connect(context: Context, options: Options) -> None:
    from estiva.cli.options import networks as words
    from estiva.engine.networks import connect as joining

    endpoint: dict[str, object] = {}
    addresses = {
        key: options.text(name)
        for name, key in (("ip", "IPv4Address"), ("ip6", "IPv6Address"))
        if options.text(name)
    }
    if options.many("link-local-ip"):
        addresses["LinkLocalIPs"] = options.many("link-local-ip")  # type: ignore[assignment]
    if addresses:
        endpoint["IPAMConfig"] = addresses
    for name, key in (("alias", "Aliases"), ("link", "Links")):
        if options.many(name):
            endpoint[key] = options.many(name)
    if options.many("driver-opt"):
        endpoint["DriverOpts"] = _pairs("driver-opt", options.many("driver-opt"))
    if options.given("gw-priority"):
        endpoint["GwPriority"] = words.number(options.text("gw-priority"))
    if options.text("mac-address"):
        endpoint["MacAddress"] = options.text("mac-address")
    network, container = options.arguments
    joining.connect(context.engine, network, container, endpoint)


def disconnect(context: Context, options: Options) -> None:
    from estiva.engine.networks import connect as joining

    network, container = options.arguments
    joining.disconnect(context.engine, network, container, force=options.flag("force"))


def reload(context: Context, options: Options) -> None:
    from estiva.engine.networks import remove

    for line in remove.reload(context.engine):
        print(line)


LS = Verb(
    ls,
    "",
    "List networks",
    (
        ("f", "filter", LIST, "KEY=VALUE", "name, id, driver, label, type, scope or dangling"),
        ("", "format", TEXT, "TEMPLATE", "json, or a Go template such as '{{.Name}}'"),
        ("", "no-trunc", FLAG, "", "whole ids"),
        ("q", "quiet", FLAG, "", "ids only"),
    ),
    most=0,
    examples=(("estiva network ls --filter driver=bridge", "those of one driver"),),
)
CREATE = Verb(
    create,
    "NETWORK",
    "Make a network",
    (
        ("", "attachable", FLAG, "", "shown by inspect: any container may be connected here"),
        ("", "aux-address", LIST, "NAME=IP", "an address that no container gets"),
        ("d", "driver", TEXT, "DRIVER", "bridge, macvlan or ipvlan (default bridge)"),
        ("", "gateway", LIST, "IP", "the host's address there (default the first)"),
        ("", "internal", FLAG, "", "no way to the outside"),
        ("", "ip-range", LIST, "CIDR", "where containers' addresses are from"),
        ("", "ipv6", FLAG, "", "IPv6 beside IPv4"),
        ("", "label", LIST, "K=V", "set a label"),
        ("o", "opt", LIST, "K=V", "an option of the driver"),
        ("", "subnet", LIST, "CIDR", "the subnet, one of each family (default a free one)"),
        ("", "ipv4", FLAG, "", ""),
        ("", "ipam-driver", TEXT, "", ""),
        ("", "ipam-opt", LIST, "", ""),
        ("", "config-from", TEXT, "", ""),
        ("", "config-only", FLAG, "", ""),
        ("", "ingress", FLAG, "", ""),
        ("", "scope", TEXT, "", ""),
    ),
    least=1,
    most=1,
    examples=(
        ("estiva network create web", "then: estiva run --network web ..."),
        (
            "estiva network create --subnet 10.5.0.0/16 --ip-range 10.5.1.0/24 lab",
            "with addresses of your own",
        ),
    ),
)
INSPECT = Verb(
    inspect,
    "NETWORK [NETWORK...]",
    "Show all that is known of networks",
    (
        ("f", "format", TEXT, "TEMPLATE", "json, or a Go template such as '{{.Driver}}'"),
        ("v", "verbose", FLAG, "", "as without: it tells more of swarm networks alone"),
    ),
    least=1,
    examples=(("estiva network inspect -f '{{json .Containers}}' web", "who is there"),),
)
RM = Verb(
    rm,
    "NETWORK [NETWORK...]",
    "Remove networks",
    (("f", "force", FLAG, "", "don't mind those that aren't there"),),
    least=1,
    examples=(("estiva network rm web", "no container may run on it"),),
)
PRUNE = Verb(
    prune,
    "",
    "Remove the networks that no container belongs to",
    (
        ("", "filter", LIST, "KEY=VALUE", "only those that match: label, label!, until"),
        ("f", "force", FLAG, "", "don't ask"),
    ),
    most=0,
    examples=(("estiva network prune -f", "in a script"),),
)
CONNECT = Verb(
    connect,
    "NETWORK CONTAINER",
    "Put a container on a network, while it runs too",
    (
        ("", "alias", LIST, "NAME", "another name of the container there"),
        ("", "driver-opt", LIST, "K=V", "an option of the driver for it"),
        ("", "gw-priority", TEXT, "N", "the default route goes to the highest (default 0)"),
        ("", "ip", TEXT, "IP", "IPv4 address"),
        ("", "ip6", TEXT, "IP", "IPv6 address"),
        ("", "link", LIST, "CTR[:ALIAS]", "let the container find another by a name"),
        ("", "link-local-ip", LIST, "IP", "one address more, of 169.254.0.0/16 or fe80::/10"),
        ("", "mac-address", TEXT, "MAC", "hardware address"),
    ),
    least=2,
    most=2,
    examples=(("estiva network connect --alias db backend postgres", "it is found as db there"),),
)
DISCONNECT = Verb(
    disconnect,
    "NETWORK CONTAINER",
    "Take a container off a network, while it runs too",
    (("f", "force", FLAG, "", "also where the network or the container's state is gone"),),
    least=2,
    most=2,
    examples=(("estiva network disconnect backend postgres", "its address there is free"),),
)
RELOAD = Verb(
    reload,
    "",
    "Make firewall rules and bridges anew where others have removed them",
    (),
    most=0,
    examples=(("estiva network reload", "after nft flush ruleset"),),
)
