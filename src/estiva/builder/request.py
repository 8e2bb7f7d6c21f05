"""What goes into a build and what comes out of it: the request, one step for the runner, and the errors."""

from __future__ import annotations

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from estiva.builder.frontend.run_devices import Device
    from estiva.store.images import Image
    from estiva.store.snapshots import Snapshot

    Progress = Callable[[dict[str, Any]], None]
    FindDevices = Callable[[list[Device]], tuple[list[str], list[str]]]

    class Readable(Protocol):
        """An open file, as far as a build reads it."""

        def read(self, size: int, /) -> bytes: ...

    class RunStep(Protocol):
        """Runs a Step in a container over its snapshot and returns the exit status (128+n for a signal)."""

        def __call__(self, step: Step) -> int: ...

    class ResolveImage(Protocol):
        """Finds an image by name for a platform, fetching it when it is missing, or always with `pull`."""

        def __call__(self, name: str, *, platform: str | None, pull: bool) -> Image: ...


NETWORKS = ("default", "none", "host")
HOSTNAME = "buildkitsandbox"  # of RUN, as with docker: a layer that holds it is the same on every machine
ENTITLEMENTS = ("network.host", "security.insecure", "device", "device=NAME")


class Request:
    """One build. Everything is optional but that a Dockerfile must be found.

    context          a directory, a git or http(s) address, an open file of a tar archive, or None: empty
    dockerfile       a path or an http(s) URL; None looks for Dockerfile, then Containerfile, in the context
    dockerfile_text  the Dockerfile itself, when it came on standard input
    dockerfile_folder  a folder that `dockerfile` and its ignore file are in, whatever links there are in it
    build_args       ARG values, proxy settings, SOURCE_DATE_EPOCH and BUILDKIT_SANDBOX_HOSTNAME
    secrets          id -> path of a file, or the bytes themselves; `get` may ask for one when it is wanted
    ssh              id -> path of an agent's socket, or of a key's file, or a list of those
    network          of RUN: "default"; "none" or a network's name, which no RUN can go beyond; or "host"
    allow            what of ENTITLEMENTS a Dockerfile may ask for (K23); network "host" brings network.host
    build_contexts   name -> a directory, an address, "docker-image://NAME" or "oci-layout://FOLDER[:TAG]";
                     for FROM, COPY --from and RUN --mount, in the place of a stage or an image of that name
    hidden           the image is not listed: what it is for comes afterwards
    explain_cache    tell of each step that was not in the cache which of its inputs has changed
    cache_from, cache_to  places as the options of those names have them; the engine reads and writes them
    devices          finds what RUN --device asks for: (full names, what is not here and may be absent),
                     raising for what is not allowed; set by who can run steps with devices
    check            whether to tell, at the end, what is likely a mistake in the Dockerfile; set afterwards
    vertexes         whether events of steps have BuildKit's names for them, too (solver/vertexes.py); set
                     afterwards, as `several` is: whether it is one build of several platforms

    Raises InvalidInput for a network or an entitlement that there is not.
    """

    def __init__(
        self,
        *,
        context: str | Readable | None = None,
        dockerfile: str | None = None,
        dockerfile_text: str | None = None,
        dockerfile_folder: str | None = None,
        build_args: dict[str, str] | None = None,
        build_contexts: dict[str, str] | None = None,
        target: str | None = None,
        labels: dict[str, str] | None = None,
        no_cache: bool = False,
        no_cache_filter: list[str] | None = None,
        pull: bool = False,
        platform: str | None = None,
        network: str = "default",
        secrets: dict[str, str | bytes] | None = None,
        ssh: dict[str, str | list[str]] | Agents | None = None,
        allow: list[str] | None = None,
        source_date_epoch: int | None = None,
        tags: list[str] | None = None,
        cache_from: list[str] | None = None,
        cache_to: list[str] | None = None,
        explain_cache: bool = False,
        hidden: bool = False,
    ) -> None:
        self.context = context
        self.dockerfile = dockerfile
        self.dockerfile_text = dockerfile_text
        self.dockerfile_folder = dockerfile_folder
        self.build_args = dict(build_args or {})
        self.build_contexts = dict(build_contexts or {})
        self.target = target
        self.labels = dict(labels or {})
        self.no_cache = no_cache
        self.no_cache_filter = list(no_cache_filter or [])
        self.pull = pull
        self.platform = platform
        self.network = "default" if network in ("", "bridge") else network
        if not self.network or ":" in self.network:
            raise InvalidInput(
                f"unsupported network {network!r} for a build",
                hint=f"{', '.join(NETWORKS)} or the name of a network",
            )
        self.allow = list(allow or [])
        for name in self.allow:
            if name not in ENTITLEMENTS and not name.startswith("device="):
                raise InvalidInput(
                    f"unknown entitlement {name!r}", hint="it is one of " + ", ".join(ENTITLEMENTS)
                )
        if self.network == "host":
            self.allow.append("network.host")
        self.commits: dict[str, Any] = {}  # by address: a ref is the same commit wherever a build names it
        self.secrets = {} if secrets is None else secrets
        self.ssh: dict[str, list[str]] = {} if ssh is None else _places(ssh)
        self.source_date_epoch = source_date_epoch
        self.tags = list(tags or [])
        self.hidden = hidden
        self.materials: dict[str, str] = {}  # what was fetched: address -> digest
        self.read = ("", "")  # the Dockerfile's name and text
        self.cache_from = list(cache_from or [])
        self.cache_to = list(cache_to or [])
        self.explain_cache = explain_cache
        self.devices: FindDevices | None = None
        self.check = True
        self.vertexes = self.several = False

    def note(self, address: str, hexadecimal: str) -> None:
        """What the build has fetched, and what it was: the sha256 of a file, or a commit."""
        self.materials[address] = f"{'sha1' if len(hexadecimal) == 40 else 'sha256'}:{hexadecimal}"


def _places(ssh: dict[str, str | list[str]] | Agents) -> dict[str, list[str]]:
    if isinstance(ssh, Agents):
        return ssh
    return {name: [where] if isinstance(where, str) else where for name, where in ssh.items()}


class Agents(dict[str, list[str]]):
    """Agents by id, of which `get` asks for one when it is wanted."""


class Agent:
    """A socket that the runner makes at `path` for the time of a step, and an ssh agent behind it: that at
    places[0], filtered, or one for the keys in these files.
    """

    def __init__(self, path: str, places: list[str], mode: int, uid: int, gid: int) -> None:
        self.path = path
        self.places = places
        self.mode = mode
        self.uid = uid
        self.gid = gid


class Step:
    """One command to run on a snapshot, as RUN asks for it.

    mounts are mounts of the OCI runtime spec; mounted has, by destination, fds of detached mounts that are to
    be attached in place of their sources. network is "default", "none", "host" or a network's name; user is a
    USER value ("" is root), to be resolved inside the rootfs; output takes what the command writes to stdout
    and stderr; look is called now and then, and raises when the command is to be killed; agents are the
    sockets among the mounts' sources that are to be answered at; devices are full names of CDI devices;
    shell is one of the image's; title is what messages call the step.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        argv: list[str],
        env: list[str],
        cwd: str,
        user: str,
        mounts: list[dict[str, Any]],
        mounted: dict[str, int],
        network: str,
        output: Callable[[bytes], None],
        look: Callable[[], None],
        privileged: bool = False,
        hostname: str = HOSTNAME,
        agents: list[Agent] | None = None,
        devices: list[str] | None = None,
        shell: str = "/bin/sh",
        title: str = "",
    ) -> None:
        self.snapshot = snapshot
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.user = user
        self.mounts = mounts
        self.mounted = mounted
        self.network = network
        self.output = output
        self.look = look
        self.privileged = privileged
        self.hostname = hostname
        self.agents = agents or []
        self.devices = devices or []
        self.shell = shell
        self.title = title
