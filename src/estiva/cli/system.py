"""Verbs on the whole: version, info, system df, system prune, system check, container prune."""

from __future__ import annotations

import sys

from estiva.cmdline.parser import FLAG, LIST, TEXT, Options, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context


DF_CONTAINERS = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Size", "SIZE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Names", "NAMES"),
]
DF_VOLUMES = [("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")]
DF_STEPS = [
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("Shared", "SHARED"),
]


def version(context: Context, options: Options) -> None:
    from estiva.version import __version__

    if options.flag("short"):
        print(f"estiva {__version__}")
        return
    from estiva.engine import system

    known = system.version()
    if options.text("format"):
        server = {**known, "ApiVersion": system.API_VERSION}
        client = {**server, "Context": "default"}
        _by_template({**known, "Client": client, "Server": server}, options.text("format"), "Version")
        return
    print(f"Estiva:    {known['Version']}")
    print(f"Python:    {known['PythonVersion']}")
    print(f"Platform:  {known['Os']}/{known['Arch']}")
    print(f"Kernel:    {known['KernelVersion']}")


def _by_template(value: dict[str, Any], template: str, kind: str = "") -> None:
    """`kind`: as which of Docker's structs it is printed, if as one."""
    from estiva.cli.format.declared import shape
    from estiva.cli.format.template import Template

    made = shape(value, kind) if kind else value
    print(Template("{{json .}}" if template == "json" else template).render(made))


def info(context: Context, options: Options) -> None:
    from estiva.cli.format import units
    from estiva.engine import system

    known = system.info(context.engine)
    if options.text("format"):
        client: dict[str, Any] = {"Debug": False}
        client |= {**system.version(), "Context": "default", "Plugins": [], "Warnings": None}
        _by_template({**known, "ClientInfo": client}, options.text("format"), "SystemInfo")
        return
    lines = (
        ("Version", known["ServerVersion"]),
        ("Containers", known["Containers"]),
        (" Running", known["ContainersRunning"]),
        (" Paused", known["ContainersPaused"]),
        (" Stopped", known["ContainersStopped"]),
        ("Images", known["Images"]),
        ("Storage Driver", known["Driver"]),
        ("Cgroup Driver", known["CgroupDriver"]),
        ("Cgroup Version", known["CgroupVersion"]),
        ("Security Options", ", ".join(known["SecurityOptions"])),
        ("Kernel Version", known["KernelVersion"]),
        ("Operating System", known["OperatingSystem"]),
        ("Architecture", known["Architecture"]),
        ("CPUs", known["NCPU"]),
        ("Total Memory", units.binary_size(known["MemTotal"])),
        ("Name", known["Name"]),
        ("Root Dir", known["EstivaRootDir"]),
        ("Run Root Dir", known["EstivaRunRootDir"]),
        ("Settings", known["EstivaSettings"] or "none"),
        (
            "Docker API",
            f"docker context create estiva --docker host=unix://{known['EstivaRunRootDir']}/docker.sock",
        ),
    )
    for name, value in lines:
        print(f"{name}: {value}")
    from estiva.cli.context import warn

    for line in known["Warnings"] or ():
        warn(line)


def df(context: Context, options: Options) -> None:
    from estiva.cli.format import tables, units
    from estiva.engine import system

    usage = system.df(context.engine)
    template = options.text("format")
    if options.flag("verbose") and template not in ("", "table"):
        _df_by_template(context, usage, template)
        return
    rows = []
    for key, name in (
        ("images", "Images"),
        ("containers", "Containers"),
        ("volumes", "Local Volumes"),
        ("build_cache", "Build Cache"),
        ("snapshots", "Snapshots"),
    ):
        if key not in usage:
            continue
        part = usage[key]
        share = f" ({part['reclaimable'] * 100 // part['size']}%)" if part["size"] else ""
        rows.append(
            {
                "Type": name,
                "TotalCount": str(part["count"]),
                "Active": str(part["active"]),
                "Size": units.size(part["size"]),
                "Reclaimable": units.size(part["reclaimable"]) + share,
            }
        )
    headings = [
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ]
    tables.show(rows, headings, template)
    if options.flag("verbose"):
        _df_tables(context, usage)


def _df_tables(context: Context, usage: dict[str, Any]) -> None:
    """Print it as tables."""
    from estiva.cli.format import tables, units

    print("\nImages space usage:\n")
    print(tables.columns(_df_images(context, usage["per_image"])))
    print("\nContainers space usage:\n")
    tables.show(_df_containers(context, usage["per_container"], truncate=True), DF_CONTAINERS)
    print("\nLocal Volumes space usage:\n")
    tables.show(_df_volumes(context, usage["per_volume"]), DF_VOLUMES)
    print(f"\nBuild cache usage: {units.size(usage['build_cache']['size'])}\n")
    tables.show(_df_steps(usage["per_step"], truncate=True), DF_STEPS)


def _df_by_template(context: Context, usage: dict[str, Any], template: str) -> None:
    """Print it by a template, which sees the lists Images, Containers, Volumes and BuildCache."""
    whole = {
        "Images": _df_named_images(context, usage["per_image"]),
        "Containers": _df_containers(context, usage["per_container"], truncate=False),
        "Volumes": _df_volumes(context, usage["per_volume"]),
        "BuildCache": _df_steps(usage["per_step"], truncate=False),
    }
    _by_template(whole, template)


def _df_sizes(part: dict[str, int]) -> list[str]:
    from estiva.cli.format import units

    return [*(units.size(part[key]) for key in ("size", "shared", "unique")), str(part["containers"])]


def _df_images(context: Context, per_image: dict[str, dict[str, int]]) -> list[list[str]]:
    from estiva.cli.format import units
    from estiva.engine.images import lookup

    rows = [["IMAGE", "IMAGE ID", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"]]
    for image_id, part in per_image.items():
        names = lookup.names(context.engine, image_id)
        rows.append([", ".join(names) or "<none>", units.short_id(image_id), *_df_sizes(part)])
    return rows


def _df_named_images(context: Context, per_image: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    """A row for each name, as `images` has them."""
    from estiva.cli.image.images import rows_of
    from estiva.engine.images import inspect

    keys = ("Size", "SharedSize", "UniqueSize", "Containers")
    found = []
    for entry in inspect.listing(context.engine):
        if entry["Id"] in per_image:  # not there: it has come since
            sizes = dict(zip(keys, _df_sizes(per_image[entry["Id"]]), strict=True))
            for row in rows_of(entry, True, False):
                row.update(sizes)
                found.append(row)
    return found


def _df_containers(context: Context, sizes: dict[str, int], *, truncate: bool) -> list[dict[str, Any]]:
    from estiva.cli.container import ps
    from estiva.cli.format import units
    from estiva.engine.containers import listing

    rows = []
    for record in listing.listing(context.engine, all=True, damaged=[]):
        row = ps.row(context, record, truncate, False)
        row["Size"] = units.size(sizes.get(record["Id"], 0), 3)
        rows.append(row)
    return rows


def _df_volumes(context: Context, per_volume: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    from estiva.cli import volume
    from estiva.cli.format import tables, units
    from estiva.engine import volumes

    rows = []
    for entry in sorted(volumes.listing(context.engine), key=lambda entry: tables.natural(entry["Name"])):
        if entry["Name"] in per_volume:  # not there: it has come since
            part = per_volume[entry["Name"]]
            row = volume.row(entry)
            row.update({"Links": str(part["links"]), "Size": units.size(part["size"], 3)})
            rows.append(row)
    return rows


def _df_steps(steps: list[dict[str, Any]], *, truncate: bool) -> list[dict[str, str]]:
    import time

    from estiva.cli.format import units

    now = time.time()
    return [
        {
            "ID": units.short_id(step["key"]) if truncate else step["key"],
            "CacheType": "regular",
            "Size": units.size(step["size"], 3),
            "CreatedSince": units.ago(now - step["created"]),
            "LastUsedSince": units.ago(now - step["used"]),
            "Shared": str(step["shared"]).lower(),
        }
        for step in steps
    ]


def prune(context: Context, options: Options) -> None:
    from estiva.cli.format import tables, units
    from estiva.cli.image.images import confirm
    from estiva.engine import system
    from estiva.engine.state.prune_filters import FILTERS

    wanted = tables.filters(options.many("filter"), FILTERS)
    everything, volumes = options.flag("all"), options.flag("volumes")
    images = "images that no container uses" if everything else "images without a name"
    cache = "" if wanted else "the build cache, "
    what = f"stopped containers, networks that no container belongs to, {images}, {cache}unused content"
    if not confirm(options, what + (" and anonymous volumes" if volumes else "")):
        return
    done = system.prune(context.engine, all=everything, volumes=volumes, filters=wanted)
    for line in done["failed"]:
        print(f"problem: {line}", file=sys.stderr)
    for title, words in (
        ("Swept", done["swept"]),
        ("Deleted Containers", done["containers"]),
        ("Deleted Networks", done["networks"]),
        ("Deleted Volumes", done["volumes"]),
        ("Deleted Images", [line[0].lower() + line[1:] for line in done["images"]]),
    ):
        if words:
            print(f"{title}:", *words, "", sep="\n")
    if done["build_cache"]:
        print(f"Deleted build cache: {done['build_cache']} steps\n")
    if done["busy"]:
        print("Unused content stays for now: another command is storing images.\n")
    print(f"Total reclaimed space: {units.size(done['bytes'])}")


def check(context: Context, options: Options) -> int:
    from estiva.engine import system

    found = system.check(context.engine, deep=options.flag("deep"), repair=options.flag("repair"))
    for title, key in (
        ("swept", "swept"),
        ("repaired", "repaired"),
        ("kept", "kept"),
        ("problem", "problems"),
    ):
        for line in found[key]:
            print(f"{title}: {line}")
    count = len(found["problems"])
    print(f"{count} problem{'s' if count > 1 else ''}" if count else "all is well")
    return 1 if count else 0


def prune_containers(context: Context, options: Options) -> None:
    from estiva.cli.format import tables, units
    from estiva.cli.image.images import confirm
    from estiva.engine.containers import sweep

    wanted = tables.filters(options.many("filter"), sweep.PRUNE_FILTERS)
    if not confirm(options, "all stopped containers"):
        return
    ids, freed = sweep.prune(context.engine, wanted)
    if ids:
        print("Deleted Containers:", *ids, "", sep="\n")
    print(f"Total reclaimed space: {units.size(freed)}")


FORMAT = ("f", "format", TEXT, "TEMPLATE", "json, or a Go template")
FORCE = ("f", "force", FLAG, "", "don't ask")

VERSION = Verb(
    version,
    "",
    "Show the versions of Estiva, Python and the kernel",
    (FORMAT, ("", "short", FLAG, "", "")),
    most=0,
    examples=(("estiva version -f '{{.Version}}'", "only the number"),),
)
INFO = Verb(
    info,
    "",
    "Show the state of the engine and its machine",
    (FORMAT,),
    most=0,
    examples=(("estiva info -f '{{.Driver}}'", "how layers are stored"),),
)
DF = Verb(
    df,
    "",
    "Show how much of the disk is used, and how much could be freed",
    (
        ("", "format", TEXT, "TEMPLATE", "json, or a Go template"),
        ("v", "verbose", FLAG, "", "each image, container, volume and step of builds too"),
    ),
    most=0,
    examples=(
        ("estiva system df -v", "what each image shares and has of its own"),
        ("estiva system df -v --format '{{json .Volumes}}'", "volumes alone"),
    ),
)
PRUNE = Verb(
    prune,
    "",
    "Remove stopped containers, unused images, build cache and content",
    (
        ("a", "all", FLAG, "", "every image that no container uses"),
        ("", "filter", LIST, "KEY=VALUE", "only what matches, and no build cache: until, label, label!"),
        FORCE,
        ("", "volumes", FLAG, "", "anonymous volumes too"),
    ),
    most=0,
    examples=(("estiva system prune -af --volumes", "all that is not in use"),),
)
CHECK = Verb(
    check,
    "",
    "Sweep what killed processes left, and check all state against itself",
    (
        ("", "deep", FLAG, "", "read all content and verify its digests"),
        ("", "repair", FLAG, "", "mend layers, firewall rules and what a lost database knew"),
    ),
    most=0,
    examples=(
        ("estiva system check --deep", "ends with 1 if something is wrong"),
        ("estiva system check --deep --repair", "mends what can be"),
    ),
)
PRUNE_CONTAINERS = Verb(
    prune_containers,
    "",
    "Remove all stopped containers",
    (("", "filter", LIST, "KEY=VALUE", "only those that match: until, label, label!, name, id"), FORCE),
    most=0,
    examples=(("estiva container prune -f", "in a script"),),
)
