"""What the options and arguments of the verbs may be given, for `completion`.

A choice is a word as it is, or one with a kind of names in it: "<container>", "container:<running>" (see
engine/known.py), or ":files", ":folders".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.cmdline.parser import Option

FILES, FOLDERS = (":files",), (":folders",)

PLATFORMS = (
    "linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/riscv64",
    "linux/s390x",
)  # fmt: skip
ANOTHER = "container:<running>"
CHANGES = (
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
)
TABLE = ("json", "table")

# by verb and option, where the option's name alone does not say it
OF_VERB: dict[tuple[str, str], Sequence[str]] = {
    ("volume create", "driver"): (),
    ("build", "network"): ("default", "none", "host"),
    ("save", "format"): ("docker-archive", "oci-archive", "oci-dir"),
    ("diff", "format"): ("json",),
    ("inspect", "format"): ("json",),
    ("image from-host", "file"): FILES,
}
# by option
OF_OPTION: dict[str, Sequence[str]] = {
    "allow": ("network.host", "security.insecure"),
    "attach": ("stdin", "stdout", "stderr"),
    "build-context": (),
    "cgroupns": ("private", "host", ANOTHER),
    "change": tuple(f"{word} " for word in CHANGES),
    "compression": ("gzip", "zstd", "none"),
    "device": ("/dev/fuse", "/dev/kvm", "/dev/net/tun"),
    "entrypoint": (),
    "format": TABLE,
    "gpus": ("all",),
    "ipc": ("private", "shareable", "none", "host", ANOTHER),
    "log-driver": ("json-file", "local", "journald", "syslog", "none"),
    "log-opt": ("max-size=", "max-file=", "compress=true", "mode=non-blocking", "tag=", "labels=", "env="),
    "driver": ("bridge", "macvlan", "ipvlan"),
    "link": ("<running>",),
    "network": ("bridge", "none", "host", "<network>", ANOTHER),
    "pid": ("private", "host", ANOTHER),
    "platform": PLATFORMS,
    "progress": ("auto", "plain", "quiet"),
    "pull": ("always", "missing", "never"),
    "condition": (
        "not-running",
        "next-exit",
        "removed",
        "healthy",
        "unhealthy",
        "running",
        "paused",
        "restarting",
        "created",
        "exited",
    ),
    "health-on-failure": ("none", "kill", "restart", "stop"),
    "restart": ("no", "on-failure", "on-failure:", "always", "unless-stopped"),
    "security-opt": ("no-new-privileges", "seccomp=unconfined", "systempaths=unconfined", "label=disable"),
    "storage-driver": ("erofs", "erofs-lz4", "dir"),
    "tag": ("<image>",),
    "type": ("container", "image", "volume", "network"),
    "userns": ("auto", "host", "keep-id", "private", ANOTHER),
    "uts": ("private", "host", ANOTHER),
    "volume": ("<volume>:", ":folders"),
    "workdir": (),
}
OF_METAVAR: dict[str, Sequence[str]] = {"FILE": FILES, "PATH": FILES, "DIR": FOLDERS}
# which containers a verb takes; all of them where it is not here
STATES = {
    **dict.fromkeys(("exec", "kill", "pause", "port", "stop", "top", "unpause"), "<running>"),
    "start": "<stopped>",
}
OF_USAGE: dict[str, Sequence[str]] = {
    "IMAGE": ("<image>",),
    "VOLUME": ("<volume>",),
    "NETWORK": ("<network>",),
    "LIST": ("<list>",),
    "FOLDER": FOLDERS,
    "FOLDER|-": FOLDERS,
    "FILE|-": FILES,
}
OF_ARGUMENT: dict[str, Sequence[str]] = {
    "completion": ("bash", "zsh", "fish"),
    "diff": ("<container>", "<image>"),
    "image copy": (
        "docker://", "oci:", "oci-archive:", "docker-archive:", "store:", "store:<image>",
    ),
    "image from-host": (),
    "images": ("<image>",),
    "inspect": ("<container>", "<image>", "<volume>", "<network>"),
    "network create": (),
    "manifest inspect": ("<list>",),
    "pull": ("<image>",),
    "push": ("<image>",),
}  # fmt: skip


def of_option(verb: str, option: Option) -> Sequence[str]:
    """What an option of a verb, called as `estiva VERB`, may be given."""
    name = option[1]
    if (verb, name) in OF_VERB:
        return OF_VERB[verb, name]
    if name in ("cap-add", "cap-drop"):
        return ("ALL", "<capability>")
    if name in ("signal", "stop-signal"):
        from estiva.linux import signals

        return sorted(signals.NUMBERS)
    if name == "filter":
        return _filters(verb)
    return OF_OPTION[name] if name in OF_OPTION else OF_METAVAR.get(option[3], ())


def _filters(verb: str) -> Sequence[str]:
    if verb in ("images", "image ls"):
        by_name = ("reference=<image>", "before=<image>", "since=<image>")
        return ("dangling=true", "dangling=false", *by_name, "label=", "until=")
    if verb == "volume ls":
        return ("dangling=true", "dangling=false", "driver=local", "label=", "name=<volume>")
    if verb == "network ls":
        truths = ("dangling=true", "dangling=false", "type=custom", "type=builtin")
        drivers = tuple(f"driver={name}" for name in ("bridge", "host", "ipvlan", "macvlan", "null"))
        return (*truths, *drivers, "id=", "label=", "name=<network>", "scope=local")
    if verb == "search":
        return ("is-official=true", "is-official=false", "stars=")
    if verb in ("events", "system events"):
        from estiva.engine import events

        types = [f"type={kind}" for kind in events.TYPES]
        actions = [f"event={action}" for action in ("create", "start", "die", "oom", "destroy", "pull")]
        names = ("container=<container>", "image=<image>", "volume=<volume>", "label=", "network=")
        return (*types, *actions, *names, "scope=local")
    if verb in ("builder du", "builder prune"):
        truths = ("inuse=true", "inuse=false", "shared=true", "shared=false")
        return (*truths, "type=regular", "type=exec.cachemount", "description=", "id=", "until=")
    if verb == "volume prune":
        return ("label=", "label!=")
    if verb.endswith("prune"):
        more = ("id=", "name=<stopped>") if verb == "container prune" else ()
        return ("label=", "label!=", "until=", *more)
    from estiva.engine.containers import listing

    statuses = [f"status={status}" for status in listing.STATUSES]
    return (
        *statuses, *[f"health={status}" for status in listing.HEALTH], "ancestor=<image>", "exited=", "id=",
        "before=<container>", "since=<container>", "publish=", "expose=",
        "label=", "name=<container>", "network=bridge", "network=host", "network=none", "network=<network>",
        "volume=<volume>",
    )  # fmt: skip


def of_argument(verb: str, usage: str, position: int) -> Sequence[str]:
    """What a verb may be given as its argument number `position`, from 0."""
    if verb in OF_ARGUMENT:
        return OF_ARGUMENT[verb]
    places = [word.strip("[]") for word in usage.split()]
    if not places:
        return ()
    if position >= len(places):
        if not places[-1].endswith("..."):
            return ()
        position = len(places) - 1
    place = places[position].removesuffix("...").strip("[]")
    if place == "CONTAINER":
        return (STATES.get(verb.rpartition(" ")[2], "<container>"),)
    return OF_USAGE.get(place, OF_USAGE.get(place.partition("|")[0], ()))
